#!/usr/bin/env bash
# The main job on the sample images: a tail in its own process, a split run against it, the log evaluated by MapReduce.
set -euo pipefail
cd "$(mktemp -d)"
trap 'kill "$tail" 2>/dev/null || true' EXIT

echo '$ hybrid-batch serve digits &'
hybrid-batch serve digits --port 0 --json >address &
tail=$!
until [ -s address ]; do
    kill -0 "$tail"
    sleep 0.1
done
url=$(python3 -c 'import json; print(json.loads(open("address").readline())["url"])')

images=$(python3 -c 'import hybrid_batch, pathlib; print(pathlib.Path(hybrid_batch.__file__).parent / "data" / "digits" / "images")')
echo "\$ hybrid-batch run $images --split squeeze_relu --codec int8 --tail $url"
hybrid-batch run "$images" --split squeeze_relu --codec int8 --tail "$url"

echo '$ hybrid-batch evaluate hybrid-batch-log --engine mrjob'
hybrid-batch evaluate hybrid-batch-log --engine mrjob
echo "The log is in $PWD/hybrid-batch-log."
