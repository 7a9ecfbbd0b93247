"""The same split through a queue and over HTTP, with the same number of tails: `python -m bench queue [--quick]`.

The queue is that of a local AWS, one process on this machine, so its own rate is measured too. Takes four minutes, with
--quick (the sample model alone) one.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import boto3
import psutil

from bench.fixtures import image_folder
from bench.local_aws import local_aws
from bench.results import Spread, ratios, report
from hybrid_batch.data.aws.queue import OutgoingMessage, SqsQueue
from hybrid_batch.data.images.images import ImageSet, find_images
from hybrid_batch.data.log.runs import RunFolder
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import Cut
from hybrid_batch.inference.model.importing.resolve_model import resolve_model
from hybrid_batch.inference.model.runtimes import Runtime, open_runtime
from hybrid_batch.inference.runner.routing import FixedRouter
from hybrid_batch.inference.runner.runner import Concurrency, RunSpec, run_shards
from hybrid_batch.inference.runner.split import choose_split
from hybrid_batch.inference.tails import Tail, open_tail, tail_kind
from hybrid_batch.inference.tails.settings import TailSettings

QUICK = "--quick" in sys.argv
_TURNS, _BATCH, _RAW_MESSAGES = (3 if QUICK else 4), 16, 100
_MODEL = "MobileNetV2"
_ELEMENTS = 20_000  # limit of a boundary, so that a batch fits into a message
_PROGRAM = (sys.executable, "-m", "hybrid_batch")


def main() -> None:
    """Measure and report."""
    with TemporaryDirectory() as folder, local_aws(Path(folder)) as emulator:
        os.environ["HYBRID_BATCH_CACHE"] = folder
        rows = [
            _row(_Case(bundle, cut, count, tails, Path(folder)), emulator)
            for bundle, cut, count in _models(Path(folder))
            for tails in (1, 2)
        ]
    report("queue-quick" if QUICK else "queue", rows)


@dataclass(frozen=True, slots=True)
class _Case:
    bundle: Bundle
    cut: Cut
    count: int
    tails: int
    folder: Path


@dataclass(slots=True)
class _Transport:
    """A transport to the tails, and the results of its turns: images/s, and CPU milliseconds per image."""

    tail: Tail
    address: str
    rates: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)


def _models(folder: Path) -> Iterator[tuple[Bundle, Cut, int]]:
    """Yield each model with a cut and the number of images per turn."""
    digits = resolve_model("digits")
    yield digits, digits.cut("c005"), 6400
    if not QUICK:
        path = folder / f"{_MODEL}.bundle"
        command = [*_PROGRAM, "import", f"app:{_MODEL}", "--weights", "none", "-o", str(path)]
        subprocess.run(command, check=True, capture_output=True)
        mobile = resolve_model(str(path))
        yield mobile, next(cut for cut in mobile.cuts if cut.elements <= _ELEMENTS), 640


def _row(case: _Case, emulator: psutil.Process) -> dict[str, object]:
    runtime = open_runtime("openvino", case.bundle)
    name = f"{case.bundle.name}-{case.tails}"
    queue = _queue(name)
    with image_folder(case.count, 240, 320) as folder, ExitStack() as stack:
        path = str(case.bundle.path)
        serve = [*_PROGRAM, "serve", path, "--port", "0", "--processes", str(case.tails), "--json"]
        (server,) = _processes(stack, [serve])
        assert server.stdout is not None  # noqa: S101
        url = json.loads(server.stdout.readline())["url"]
        workers = _processes(stack, [[*_PROGRAM, "worker", path, "--queue", name]] * case.tails)
        http, sqs = (
            _Transport(stack.enter_context(_open(address, case.bundle, runtime)), address)
            for address in (url, f"sqs:{name}")
        )
        processes = [psutil.Process(), emulator, *(psutil.Process(one.pid) for one in (server, *workers))]
        sent = _take_turns(case, runtime, (http, sqs), processes, find_images(str(folder)))
        raw_rate = _raw_rate(queue, sent // (case.count // _BATCH))
    return {
        "model, cut": f"{case.bundle.name} {case.cut.id}",
        "tails": case.tails,
        "KB per message": sent * _BATCH / case.count / 1e3,
        "http images/s": Spread.of(http.rates),
        "queue images/s": Spread.of(sqs.rates),
        "queue / http": ratios(sqs.rates, http.rates),
        "http CPU ms/image": Spread.of(http.cpu_ms),
        "queue CPU ms/image": Spread.of(sqs.cpu_ms),
        "messages/s of the run": 2 * Spread.of(sqs.rates).median / _BATCH,
        "messages/s of the queue alone": raw_rate,
    }


def _take_turns(
    case: _Case,
    runtime: Runtime,
    transports: tuple[_Transport, ...],
    processes: Sequence[psutil.Process],
    images: ImageSet,
) -> int:
    """Run the transports in turns, each equally often first and last; return the bytes sent by a run."""
    sent = 0
    for turn in range(_TURNS + 1):
        for transport in transports[:: 1 if turn % 2 else -1]:
            kind = transport.address.partition(":")[0]
            _progress(f"{case.bundle.name} x {case.tails}: turn {turn} of {_TURNS}, {kind}")
            before = _cpu_s(processes)
            seconds, sent = _run(case, runtime, transport, images)
            if turn:  # the first is a warm-up
                transport.rates.append(case.count / seconds)
                transport.cpu_ms.append((_cpu_s(processes) - before) / case.count * 1e3)
    _progress("")
    return sent


def _cpu_s(processes: Sequence[psutil.Process]) -> float:
    """Return the CPU seconds of the processes and their children."""
    times = [one.cpu_times() for process in processes for one in (process, *process.children(recursive=True))]
    return sum(one.user + one.system for one in times)


def _progress(line: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{line}")
    elif line:
        sys.stderr.write(f"{line}\n")


def _open(address: str, bundle: Bundle, runtime: Runtime) -> Tail:
    return open_tail(address, bundle, runtime, TailSettings(tail_kind(address).default_in_flight))


def _run(case: _Case, runtime: Runtime, transport: _Transport, images: ImageSet) -> tuple[float, int]:
    """Return the seconds of a run and the bytes it sent."""
    log = case.folder / "log"
    split = choose_split(case.bundle, case.cut.id, "fp16")
    transport.tail.check(case.cut.id)
    start = time.perf_counter()
    run = RunFolder(open_storage(str(log)))
    concurrency = Concurrency(tail_kind(transport.address).default_in_flight)
    spec = RunSpec(
        case.bundle,
        FixedRouter(split, _BATCH),
        runtime,
        transport.tail,
        transport.address,
        images,
        run,
        512,
        concurrency,
    )
    totals = run_shards(spec, lambda _: None)
    seconds = time.perf_counter() - start
    shutil.rmtree(log)
    return seconds, totals.sent_bytes


def _raw_rate(queue: SqsQueue, size: int) -> float:
    """Return the messages/s of sending, receiving and deleting messages of `size` bytes, without other work."""
    start = time.perf_counter()
    for _ in range(_RAW_MESSAGES // 10):
        queue.send([OutgoingMessage("x" * (4 * size // 3))] * 10)
        while messages := queue.receive(10, 0):
            queue.delete([message.receipt_handle for message in messages])
    return _RAW_MESSAGES / (time.perf_counter() - start)


def _queue(name: str) -> SqsQueue:
    boto3.client("sqs").create_queue(QueueName=name)
    return SqsQueue.open(name)


def _processes(stack: ExitStack, commands: list[list[str]]) -> list[subprocess.Popen[str]]:
    """Start processes that end with the stack."""
    started = []
    for command in commands:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        stack.enter_context(process)
        stack.callback(process.terminate)
        started.append(process)
    return started


if __name__ == "__main__":
    main()
