#!/bin/bash
# Run by each machine of a new cluster at its start: `bootstrap.sh PYTHON FOLDER [SHA256 URI NAME]…`
# installs Python 3.11 if it is missing, and downloads objects of S3 to FOLDER/NAME. A job uses only these copies, whose
# hashes were computed on the machine that submitted it. EMR 7 contains python3.11; on a custom image without it, the
# package manager of Amazon Linux 2023 installs it.
set -euo pipefail

python=${1:-/usr/bin/python3.11} folder=${2:-/home/hadoop/hybrid-batch}
shift $(($# < 2 ? $# : 2))
if ! [ -x "$python" ]; then
    sudo dnf install --assumeyes --quiet --setopt=gpgcheck=1 python3.11
fi
"$python" -c 'import sys; sys.exit(0 if sys.version_info[:2] == (3, 11) else f"{sys.executable} is not Python 3.11")'

mkdir -p "$folder"
while [ $# -ge 3 ]; do
    partial=$(mktemp -p "$folder")
    aws s3 cp --only-show-errors "$2" "$partial"
    if ! sha256sum --check --strict --quiet <<<"$1  $partial"; then
        rm "$partial"
        echo "$2 is not the object that was submitted (SHA-256 $1)." >&2
        exit 1
    fi
    mv "$partial" "$folder/$3"
    shift 3
done
