"""The process of a queue's worker: opens what it needs, works until a signal, and says what came of it."""

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

import hybrid_batch
from hybrid_batch.data.aws.queue import MOST_BYTES, Queue
from hybrid_batch.data.errors import HybridBatchError, WrongUsage
from hybrid_batch.inference.model.bundle import Bundle, read_bundle
from hybrid_batch.inference.model.runtimes import open_engine
from hybrid_batch.inference.protocol.spill import Spill
from hybrid_batch.inference.serving.request_handler import Endpoint, Limits
from hybrid_batch.inference.serving.sqs.worker import QueueWorker, Stopping, Totals

_BUNDLE = Path(hybrid_batch.__file__).parents[1] / "bundle"  # beside the code of a package for the cloud


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What `hybrid-batch worker` was told. `queue` is a name or URL, `max_batch` in images, `spill` an s3:// prefix."""

    bundle: Bundle
    queue: str
    engine: str = "openvino"
    max_batch: int = 64
    spill: str | None = None
    grace_s: float = 20.0
    idle_s: float | None = None


def work(settings: WorkerSettings, say: Callable[[str], None]) -> Totals:
    """Work until SIGTERM or SIGINT, then finish what is in hand; a second signal ends at once. `say` gets lines on how
    it goes. Raises WrongUsage, AwsRefused and AwsUnreachable for a queue that cannot be used, MissingExtra if the
    engine is not installed."""
    bundle = settings.bundle
    spill = Spill(settings.spill) if settings.spill else None
    queue = Queue.open(settings.queue)
    if queue.visibility_s == 0:
        raise WrongUsage(
            f"Queue {queue.name!r} has a visibility timeout of 0 s, so that every worker gets each request; give it 30."
        )
    limits = (
        Limits(batch=settings.max_batch) if spill else Limits(sent_bytes=MOST_BYTES // 4 * 3, batch=settings.max_batch)
    )
    endpoint = Endpoint(bundle, open_engine(settings.engine, bundle), limits, spill)
    worker = QueueWorker(queue, endpoint, say, Stopping(settings.grace_s, settings.idle_s), spill)

    def stop(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        # Not here: the handler may have interrupted the very wait whose lock it needs.
        threading.Thread(target=worker.stop).start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    say(f"Working for queue {queue.name} with {bundle.name} ({bundle.sha256[:12]}).")
    return worker.run()


def main(arguments: Sequence[str] | None = None) -> None:
    """`python -m hybrid_batch.inference.serving.sqs.worker`: `hybrid-batch worker` with
    the libraries of a tail alone."""
    parser = argparse.ArgumentParser(description="Answer the requests of a queue with the tails of a bundle.")
    environment = os.environ.get
    queue = environment("HYBRID_BATCH_QUEUE")
    parser.add_argument("--queue", default=queue, required=queue is None, help="name or URL; or HYBRID_BATCH_QUEUE")
    parser.add_argument("--bundle", type=Path, default=Path(environment("HYBRID_BATCH_BUNDLE", _BUNDLE)))
    parser.add_argument("--spill", default=environment("HYBRID_BATCH_SPILL"), help="s3://…; or HYBRID_BATCH_SPILL")
    parser.add_argument("--max-batch", type=int, default=64, help="images in one engine call")
    parser.add_argument("--grace", type=float, default=20.0, help="seconds to finish when stopped")
    parser.add_argument("--idle-exit", type=float, help="seconds without work after which to stop")
    told = parser.parse_args(arguments)
    try:
        bundle = read_bundle(told.bundle)
        settings = WorkerSettings(
            bundle, told.queue, "openvino", told.max_batch, told.spill, told.grace, told.idle_exit
        )
        totals = work(settings, _say)
    except HybridBatchError as error:
        sys.exit(f"hybrid-batch: {error}")
    sys.stdout.write(json.dumps(asdict(totals)) + "\n")


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
