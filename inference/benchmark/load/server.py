"""A server on this machine, as a child process with an empty cache.

The child runs `python -m hybrid_batch.inference.benchmark.load.server BUNDLE MAX_PENDING CACHE`: it serves on a free
port, prints its URL, and ends with the process that started it. It deletes the folder CACHE.
"""

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from hybrid_batch.data.terminal.escapes import write_line
from hybrid_batch.inference.benchmark.load.line_process import LineProcess, on_parent_exit
from hybrid_batch.inference.model.bundle import Bundle, read_bundle

MAX_PENDING = 128


@dataclass(frozen=True, slots=True)
class LocalServer:
    """A running server: its address, and the process whose CPU time and memory are measured."""

    url: str
    process: psutil.Process


@contextmanager
def start_server(bundle: Bundle, max_pending: int = MAX_PENDING) -> Iterator[LocalServer]:
    """A server until the end of the block, which admits `max_pending` requests at once and replies 429 to others. Its
    cache is empty, so it compiles the model anew. Raises TailUnreachable if it does not start."""
    path = str(bundle.path.resolve())
    with (
        TemporaryDirectory(prefix="hybrid-batch-") as cache,
        LineProcess("hybrid_batch.inference.benchmark.load.server", path, str(max_pending), cache) as child,
    ):
        yield LocalServer(child.read_line().strip(), psutil.Process(child.process.pid))


def main(path: str, max_pending: str, cache: str) -> None:
    """In the child process: serve until SIGTERM or until the parent has ended."""
    from hybrid_batch.inference.serving.http.async_handler import ServerSettings
    from hybrid_batch.inference.serving.http.launch import serve

    os.environ["HYBRID_BATCH_CACHE"] = cache
    on_parent_exit(lambda: os.kill(os.getpid(), signal.SIGTERM))
    settings = ServerSettings(read_bundle(Path(path)), max_pending=int(max_pending))
    try:
        serve(settings, "127.0.0.1", 0, 1, _announce)
    finally:
        shutil.rmtree(cache, ignore_errors=True)


def _announce(url: str) -> None:
    write_line(sys.stdout, url)
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
