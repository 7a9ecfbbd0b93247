"""Runs load phases: hands them to the process of the users and collects the results."""

import json
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from hybrid_batch.inference.benchmark.head_encoder import EncodedFrame
from hybrid_batch.inference.benchmark.load.client import LoadResult
from hybrid_batch.inference.benchmark.load.line_process import LineProcess
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.runner.split import RemoteSplit


@dataclass(frozen=True, slots=True)
class Workload:
    """The frames that users send for one split, encoded in advance as each user's own machine would."""

    bundle: Bundle
    split: RemoteSplit
    frames: Sequence[EncodedFrame]


class LoadDriver:
    """Runs load phases in `process`, which executes `load.client`."""

    def __init__(self, process: LineProcess) -> None:
        self._process = process

    def run(
        self, url: str, workload: Workload, users: int, *, seconds: float = 0.0, min_requests: int = 1
    ) -> LoadResult:
        """Have `users` concurrent users send the workload to the server at `url` for `seconds`, each at least
        `min_requests` times. Raises TailUnreachable if the process of the users has exited."""
        bodies = [frame.body(workload.bundle) for frame in workload.frames]
        address = urlsplit(url)
        phase = {
            "host": address.hostname,
            "port": address.port,
            "path": f"/v2/models/{quote(workload.bundle.name, safe='')}/versions/{workload.split.name}/infer",
            "requests": [{"headers": body.headers, "body": b64encode(body.join()).decode()} for body in bodies],
            "users": users,
            "seconds": seconds,
            "min_requests": min_requests,
        }
        self._process.write_line(json.dumps(phase))
        return LoadResult(**json.loads(self._process.read_line()))


@contextmanager
def start_load_driver() -> Iterator[LoadDriver]:
    """A load driver, whose process ends with the block."""
    with LineProcess("hybrid_batch.inference.benchmark.load.client") as process:
        yield LoadDriver(process)
