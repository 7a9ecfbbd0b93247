"""`hybrid-batch serve` as a child, on any free port.

`python -m hybrid_batch.inference.benchmark.server_process BUNDLE QUEUE CACHE`.
It ends with the process that started it, and takes
the folder CACHE along.
"""

import os
import shutil
import signal
import sys
from pathlib import Path

from hybrid_batch.inference.benchmark.child import watch_parent
from hybrid_batch.inference.model.bundle import read_bundle
from hybrid_batch.inference.serving.http.launch import serve
from hybrid_batch.inference.serving.http.service import ServiceSettings


def main(path: str, queue: str, cache: str) -> None:
    """Serve until told to stop or the parent is gone; the first line printed is the URL."""
    os.environ["HYBRID_BATCH_CACHE"] = cache
    watch_parent(lambda: os.kill(os.getpid(), signal.SIGTERM))
    settings = ServiceSettings(read_bundle(Path(path)), queue=int(queue))
    try:
        serve(settings, "127.0.0.1", 0, 1, _announce)
    finally:
        shutil.rmtree(cache, ignore_errors=True)


def _announce(url: str) -> None:
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
