"""A server on this machine, started for the experiment, with nothing kept from before."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory

import psutil

from hybrid_batch.inference.benchmark.child import Child
from hybrid_batch.inference.model.bundle import Bundle

QUEUE = 128


@dataclass(frozen=True, slots=True)
class Server:
    """It answers at `url`; `process` has its CPU and memory."""

    url: str
    process: psutil.Process


@contextmanager
def started_server(bundle: Bundle, queue: int = QUEUE) -> Iterator[Server]:
    """A server until the end of the block. `queue` requests are let in at once, others are told to come again. It has
    an empty cache: nothing of the model was compiled before. Raises TailUnreachable when it does not start."""
    path = str(bundle.path.resolve())
    with (
        TemporaryDirectory(prefix="hybrid-batch-") as cache,
        Child("hybrid_batch.inference.benchmark.server_process", path, str(queue), cache) as child,
    ):
        yield Server(child.hear().strip(), psutil.Process(child.process.pid))
