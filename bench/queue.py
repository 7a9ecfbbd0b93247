"""The same split through a queue and over HTTP, with as many tails: `python -m bench queue`. The queue is the local
AWS's, one process on this machine, so its own pace is measured too."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.error import URLError
from urllib.request import urlopen

import boto3

from bench.results import Spread, ratios, report
from bench.subjects import bundle_of, keras_models, pictures
from data.images import Images, find_images
from data.queues import Outgoing, Queue
from data.runs import RunFolder
from data.storage import open_storage
from inference.bundle import Bundle
from inference.cuts import Cut
from inference.engines import Engine, open_engine
from inference.models import open_model
from inference.runner import Job, Pace, run_shards
from inference.split import choose_split
from inference.tails import Tail, open_tail, usual_in_flight
from inference.tails.settings import TailSettings

_ROUNDS, _BATCH, _BARE = 3, 16, 100
_ELEMENTS = 20_000  # of a boundary, so that a batch goes into a message
_PROGRAM = (sys.executable, "-m", "hybrid_batch")


def main() -> None:
    """Measure and report."""
    with TemporaryDirectory() as folder, _local_aws(Path(folder)):
        os.environ["HYBRID_BATCH_CACHE"] = folder
        mobile = bundle_of(keras_models()["MobileNetV2"], Path(folder))
        early = next(cut for cut in mobile.cuts if cut.elements <= _ELEMENTS)
        digits = open_model("digits")
        rows = [
            _row(_Subject(bundle, cut, count, tails, Path(folder)))
            for bundle, cut, count in ((mobile, early, 320), (digits, digits.cut("c005"), 6400))
            for tails in (1, 2)
        ]
    report("queue", rows)


@dataclass(frozen=True, slots=True)
class _Subject:
    bundle: Bundle
    cut: Cut
    count: int
    tails: int
    folder: Path


def _row(subject: _Subject) -> dict[str, object]:
    engine = open_engine("openvino", subject.bundle)
    name = f"{subject.bundle.name}-{subject.tails}"
    queue = _queue(name)
    rate: dict[str, list[float]] = {}
    with pictures(subject.count, 240, 320) as folder, ExitStack() as stack:
        path = str(subject.bundle.path)
        serve = [*_PROGRAM, "serve", path, "--port", "0", "--workers", str(subject.tails), "--json"]
        (server,) = _processes(stack, [serve])
        assert server.stdout is not None  # noqa: S101
        url = json.loads(server.stdout.readline())["url"]
        _processes(stack, [[*_PROGRAM, "worker", path, "--queue", name]] * subject.tails)
        tails = {
            address: stack.enter_context(_open(address, subject.bundle, engine)) for address in (url, f"sqs:{name}")
        }
        for turn in range(_ROUNDS + 1):
            for address, tail in tails.items():
                seconds, sent = _run(subject, engine, tail, address, find_images(str(folder)))
                if turn:
                    rate.setdefault(address.partition(":")[0], []).append(subject.count / seconds)
        bare = _bare(queue, sent // (subject.count // _BATCH))
    return {
        "model, cut": f"{subject.bundle.name} {subject.cut.id}",
        "tails": subject.tails,
        "KB a message": sent * _BATCH / subject.count / 1e3,
        "http images/s": Spread.of(rate["http"]),
        "queue images/s": Spread.of(rate["sqs"]),
        "queue / http": ratios(rate["sqs"], rate["http"]),
        "messages/s used": 2 * Spread.of(rate["sqs"]).median / _BATCH,
        "messages/s bare": bare,
    }


def _open(address: str, bundle: Bundle, engine: Engine) -> Tail:
    return open_tail(address, bundle, engine, TailSettings(usual_in_flight(address)))


def _run(subject: _Subject, engine: Engine, tail: Tail, address: str, images: Images) -> tuple[float, int]:
    """Seconds of a run, and the bytes it sent."""
    log = subject.folder / "log"
    split = choose_split(subject.bundle, subject.cut.id, "fp16")
    tail.check(subject.cut.id)
    start = time.perf_counter()
    run = RunFolder(open_storage(str(log)))
    pace = Pace(_BATCH, usual_in_flight(address))
    totals = run_shards(Job(subject.bundle, split, engine, tail, address, images, run, 512, pace), lambda _: None)
    seconds = time.perf_counter() - start
    shutil.rmtree(log)
    return seconds, totals.sent_bytes


def _bare(queue: Queue, size: int) -> float:
    """Messages of so many bytes a second through the queue and away, with nothing else to do."""
    start = time.perf_counter()
    for _ in range(_BARE // 10):
        queue.send([Outgoing("x" * (4 * size // 3))] * 10)
        while messages := queue.receive(10, 0):
            queue.delete([message.handle for message in messages])
    return _BARE / (time.perf_counter() - start)


def _queue(name: str) -> Queue:
    boto3.client("sqs").create_queue(QueueName=name)
    return Queue.open(name)


def _processes(stack: ExitStack, commands: list[list[str]]) -> list[subprocess.Popen[str]]:
    """Processes until the end of the block."""
    started = []
    for command in commands:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        stack.enter_context(process)
        stack.callback(process.terminate)
        started.append(process)
    return started


@contextmanager
def _local_aws(folder: Path) -> Iterator[None]:
    """A local AWS, to which this process and its children are turned."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    own = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "TMPDIR": str(folder), "LOG_LEVEL": "WARNING"}
    os.environ |= {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    command = [sys.executable, "-m", "ministack"]
    with subprocess.Popen(
        command, env=os.environ | own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            while True:
                try:
                    with urlopen(f"{url}/_ministack/health"):  # noqa: S310 - our own
                        break
                except URLError:
                    time.sleep(0.1)
            yield
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
