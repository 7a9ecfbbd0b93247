"""The same split through a queue and over HTTP, with as many tails: `python -m bench queue [--quick]`. The queue is the
local AWS's, one process on this machine, so its own pace is measured too. Four minutes; with --quick one, for the
sample model alone."""

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

from bench.local_aws import local_aws
from bench.results import Spread, ratios, report
from bench.fixtures import pictures
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
_TURNS, _BATCH, _BARE = (3 if QUICK else 4), 16, 100
_MODEL = "MobileNetV2"
_ELEMENTS = 20_000  # of a boundary, so that a batch goes into a message
_PROGRAM = (sys.executable, "-m", "hybrid_batch")


def main() -> None:
    """Measure and report."""
    with TemporaryDirectory() as folder, local_aws(Path(folder)) as emulator:
        os.environ["HYBRID_BATCH_CACHE"] = folder
        rows = [
            _row(_Subject(bundle, cut, count, tails, Path(folder)), emulator)
            for bundle, cut, count in _models(Path(folder))
            for tails in (1, 2)
        ]
    report("queue-quick" if QUICK else "queue", rows)


@dataclass(frozen=True, slots=True)
class _Subject:
    bundle: Bundle
    cut: Cut
    count: int
    tails: int
    folder: Path


@dataclass(slots=True)
class _Way:
    """One way to the tails, and what its turns took: images/s, and milliseconds of processors an image."""

    tail: Tail
    address: str
    rates: list[float] = field(default_factory=list)
    busy_ms: list[float] = field(default_factory=list)


def _models(folder: Path) -> Iterator[tuple[Bundle, Cut, int]]:
    """Each with a cut, and how many pictures go through it in a turn."""
    digits = resolve_model("digits")
    yield digits, digits.cut("c005"), 6400
    if not QUICK:
        path = folder / f"{_MODEL}.bundle"
        command = [*_PROGRAM, "import", f"app:{_MODEL}", "--weights", "none", "-o", str(path)]
        subprocess.run(command, check=True, capture_output=True)
        mobile = resolve_model(str(path))
        yield mobile, next(cut for cut in mobile.cuts if cut.elements <= _ELEMENTS), 640


def _row(subject: _Subject, emulator: psutil.Process) -> dict[str, object]:
    engine = open_runtime("openvino", subject.bundle)
    name = f"{subject.bundle.name}-{subject.tails}"
    queue = _queue(name)
    with pictures(subject.count, 240, 320) as folder, ExitStack() as stack:
        path = str(subject.bundle.path)
        serve = [*_PROGRAM, "serve", path, "--port", "0", "--processes", str(subject.tails), "--json"]
        (server,) = _processes(stack, [serve])
        assert server.stdout is not None  # noqa: S101
        url = json.loads(server.stdout.readline())["url"]
        workers = _processes(stack, [[*_PROGRAM, "worker", path, "--queue", name]] * subject.tails)
        http, sqs = (
            _Way(stack.enter_context(_open(address, subject.bundle, engine)), address)
            for address in (url, f"sqs:{name}")
        )
        watched = [psutil.Process(), emulator, *(psutil.Process(one.pid) for one in (server, *workers))]
        sent = _take_turns(subject, engine, (http, sqs), watched, find_images(str(folder)))
        bare = _bare(queue, sent // (subject.count // _BATCH))
    return {
        "model, cut": f"{subject.bundle.name} {subject.cut.id}",
        "tails": subject.tails,
        "KB a message": sent * _BATCH / subject.count / 1e3,
        "http images/s": Spread.of(http.rates),
        "queue images/s": Spread.of(sqs.rates),
        "queue / http": ratios(sqs.rates, http.rates),
        "http ms of processors/image": Spread.of(http.busy_ms),
        "queue ms of processors/image": Spread.of(sqs.busy_ms),
        "messages/s used": 2 * Spread.of(sqs.rates).median / _BATCH,
        "messages/s bare": bare,
    }


def _take_turns(
    subject: _Subject, engine: Runtime, ways: tuple[_Way, ...], watched: Sequence[psutil.Process], images: ImageSet
) -> int:
    """Let the ways take turns, each as often first as last; gives the bytes that a run sends."""
    sent = 0
    for turn in range(_TURNS + 1):
        for way in ways[:: 1 if turn % 2 else -1]:
            kind = way.address.partition(":")[0]
            _progress(f"{subject.bundle.name} x {subject.tails}: turn {turn} of {_TURNS}, {kind}")
            before = _busy_s(watched)
            seconds, sent = _run(subject, engine, way, images)
            if turn:  # the first warms up
                way.rates.append(subject.count / seconds)
                way.busy_ms.append((_busy_s(watched) - before) / subject.count * 1e3)
    _progress("")
    return sent


def _busy_s(processes: Sequence[psutil.Process]) -> float:
    """Seconds of processors that these and their children have used."""
    times = [one.cpu_times() for process in processes for one in (process, *process.children(recursive=True))]
    return sum(one.user + one.system for one in times)


def _progress(line: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{line}")
    elif line:
        sys.stderr.write(f"{line}\n")


def _open(address: str, bundle: Bundle, engine: Runtime) -> Tail:
    return open_tail(address, bundle, engine, TailSettings(tail_kind(address).default_in_flight))


def _run(subject: _Subject, engine: Runtime, way: _Way, images: ImageSet) -> tuple[float, int]:
    """Seconds of a run, and the bytes it sent."""
    log = subject.folder / "log"
    split = choose_split(subject.bundle, subject.cut.id, "fp16")
    way.tail.check(subject.cut.id)
    start = time.perf_counter()
    run = RunFolder(open_storage(str(log)))
    pace = Concurrency(tail_kind(way.address).default_in_flight)
    job = RunSpec(subject.bundle, FixedRouter(split, _BATCH), engine, way.tail, way.address, images, run, 512, pace)
    totals = run_shards(job, lambda _: None)
    seconds = time.perf_counter() - start
    shutil.rmtree(log)
    return seconds, totals.sent_bytes


def _bare(queue: SqsQueue, size: int) -> float:
    """Messages of so many bytes a second through the queue and away, with nothing else to do."""
    start = time.perf_counter()
    for _ in range(_BARE // 10):
        queue.send([OutgoingMessage("x" * (4 * size // 3))] * 10)
        while messages := queue.receive(10, 0):
            queue.delete([message.receipt_handle for message in messages])
    return _BARE / (time.perf_counter() - start)


def _queue(name: str) -> SqsQueue:
    boto3.client("sqs").create_queue(QueueName=name)
    return SqsQueue.open(name)


def _processes(stack: ExitStack, commands: list[list[str]]) -> list[subprocess.Popen[str]]:
    """Processes until the end of the block."""
    started = []
    for command in commands:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        stack.enter_context(process)
        stack.callback(process.terminate)
        started.append(process)
    return started


if __name__ == "__main__":
    main()
