#!/bin/bash
# What each machine of a new cluster does first: `bootstrap.sh [PYTHON]` sees to it that the job's Python is there.
# EMR 7 ships python3.11; on an image of your own that lacks it, Amazon Linux 2023 has it to install.
set -euo pipefail

python=${1:-/usr/bin/python3.11}
if ! [ -x "$python" ]; then
    sudo dnf install --assumeyes --quiet python3.11
fi
"$python" -c 'import sys; sys.exit(0 if sys.version_info[:2] == (3, 11) else f"{sys.executable} is no Python 3.11")'
