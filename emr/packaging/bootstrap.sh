#!/bin/bash
# Run by each machine of a new cluster at its start: `bootstrap.sh [PYTHON]` installs Python 3.11 if it is missing.
# EMR 7 contains python3.11; on a custom image without it, the package manager of Amazon Linux 2023 installs it.
set -euo pipefail

python=${1:-/usr/bin/python3.11}
if ! [ -x "$python" ]; then
    sudo dnf install --assumeyes --quiet python3.11
fi
"$python" -c 'import sys; sys.exit(0 if sys.version_info[:2] == (3, 11) else f"{sys.executable} is not Python 3.11")'
