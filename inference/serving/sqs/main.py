"""The process of a queue worker: opens the queue and the runtime, works until a signal, prints its statistics.

`python -m hybrid_batch.inference.serving.sqs.main` is `hybrid-batch worker` for machines that have only the libraries
of a tail.
"""

import argparse
import json
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType

from hybrid_batch import data
from hybrid_batch.data.aws.queue import MAX_BATCH_BYTES, SqsQueue
from hybrid_batch.data.errors import HybridBatchError, WrongUsage
from hybrid_batch.data.terminal.escapes import escape_controls, write_line
from hybrid_batch.inference.model.bundle import Bundle, read_bundle
from hybrid_batch.inference.model.runtimes import open_runtime
from hybrid_batch.inference.protocol.spill import Spill
from hybrid_batch.inference.serving.request_handler import Limits, RequestHandler
from hybrid_batch.inference.serving.segment_cache import DEFAULT_COMPILED_BYTES
from hybrid_batch.inference.serving.sqs.worker import QueueWorker, ShutdownPolicy, WorkerStats

_BUNDLE = Path(data.__file__).parents[2] / "bundle"  # in a package for the cloud, beside the code


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """The options of `hybrid-batch worker`: `queue`, a name or URL, `max_batch` images in one call of the runtime,
    `spill`, an s3:// prefix, the timeouts of ShutdownPolicy, the served `cuts` if not all, and the memory of compiled
    ones."""

    bundle: Bundle
    queue: str
    runtime: str = "openvino"
    max_batch: int = 64
    spill: str | None = None
    shutdown_timeout_s: float = 20.0
    idle_timeout_s: float | None = None
    cuts: tuple[str, ...] = ()
    max_compiled_bytes: int = DEFAULT_COMPILED_BYTES


def run_worker(settings: WorkerSettings, notify: Callable[[str], None]) -> WorkerStats:
    """Work until SIGTERM or SIGINT, then finish received requests; a second signal ends the process at once. `notify`
    is called with lines on the progress. Raises WrongUsage, AwsRefused and AwsUnreachable for a queue that cannot be
    used, MissingExtra if the runtime is not installed."""
    bundle = settings.bundle
    spill = Spill(settings.spill) if settings.spill else None
    queue = SqsQueue.open(settings.queue)
    if queue.visibility_s == 0:
        raise WrongUsage(
            f"Queue {queue.name!r} has a visibility timeout of 0 s, which delivers each request to every worker; "
            "set it to 30 s."
        )
    limits = Limits(batch=settings.max_batch, compiled_bytes=settings.max_compiled_bytes)
    if spill is None:
        limits = replace(limits, announced_bytes=MAX_BATCH_BYTES // 4 * 3)
    handler = RequestHandler(bundle, open_runtime(settings.runtime, bundle), limits, spill, cuts=settings.cuts)
    shutdown = ShutdownPolicy(settings.shutdown_timeout_s, settings.idle_timeout_s)
    worker = QueueWorker(queue, handler, notify, shutdown, spill)

    def stop(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        # In another thread: the handler may have interrupted the wait whose lock `stop` needs.
        threading.Thread(target=worker.stop).start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    notify(f"Working for queue {queue.name} with {bundle.name} ({bundle.sha256[:12]}).")
    return worker.run()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a worker with the options of the command line and of the environment's HYBRID_BATCH_ variables."""
    parser = argparse.ArgumentParser(description="Answer the requests of an SQS queue with the tails of a bundle.")
    environment = os.environ.get
    queue = environment("HYBRID_BATCH_QUEUE")
    parser.add_argument("--queue", default=queue, required=queue is None, help="name or URL; or HYBRID_BATCH_QUEUE")
    parser.add_argument("--bundle", type=Path, default=Path(environment("HYBRID_BATCH_BUNDLE", _BUNDLE)))
    parser.add_argument("--spill", default=environment("HYBRID_BATCH_SPILL"), help="s3://…; or HYBRID_BATCH_SPILL")
    parser.add_argument("--max-batch", type=int, default=64, help="images in one call of the runtime")
    parser.add_argument("--shutdown-timeout", type=_seconds, default=20.0, help="seconds to finish received requests")
    parser.add_argument("--idle-timeout", type=_seconds, help="exit after this many idle seconds")
    cuts = environment("HYBRID_BATCH_CUTS", "")
    parser.add_argument("--cuts", default=cuts, help="serve only these, separated by commas; or HYBRID_BATCH_CUTS")
    parser.add_argument(
        "--max-compiled-mb", type=int, default=DEFAULT_COMPILED_BYTES >> 20, help="MiB of compiled cuts"
    )
    options = parser.parse_args(arguments)
    try:
        settings = WorkerSettings(
            read_bundle(options.bundle),
            options.queue,
            max_batch=options.max_batch,
            spill=options.spill,
            shutdown_timeout_s=options.shutdown_timeout,
            idle_timeout_s=options.idle_timeout,
            cuts=tuple(cut.strip() for cut in options.cuts.split(",") if cut.strip()),
            max_compiled_bytes=options.max_compiled_mb << 20,
        )
        stats = run_worker(settings, _notify)
    except HybridBatchError as error:
        sys.exit(escape_controls(f"hybrid-batch: {error}"))
    write_line(sys.stdout, json.dumps(asdict(stats)))


def _seconds(text: str) -> float:
    """A finite number. Raises ValueError, which argparse reports."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _notify(line: str) -> None:
    write_line(sys.stderr, line)


if __name__ == "__main__":
    main()
