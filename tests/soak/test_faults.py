"""Faults while images are classified: killed runners, servers and workers, a failing S3, tail and queue, two runners on
one run, and a clock that steps back. Afterwards the log has every image once, with the predictions of a run without
faults.

`make soak` injects 1,000 faults in half an hour on a busy machine, and starts no round after 50 minutes; `make test`
injects about 30."""

import os
import random
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.conftest import COMMAND, ROOT, free_port, is_open
from tests.queue.conftest import MakeQueue, StartWorker
from tests.soak.fault_proxy import FaultProxy, Faults
from tests.soak.runs import FaultyRun, Weights, check_log, undisturbed

pytestmark = pytest.mark.slow

IMAGES = ROOT / "data" / "digits" / "images"
MAX_S = 3000.0
S3 = {
    "503": 0.03,
    "429": 0.01,
    "500": 0.01,
    "500 after the write": 0.04,
    "reset": 0.02,
    "reset after the write": 0.03,
    "truncated": 0.02,
    "stall": 0.01,
    "stalled body": 0.01,
}
TAIL = {**S3, "server killed": 0.02}
QUEUE = {
    "503": 0.02,
    "500": 0.02,
    "500 after the write": 0.01,
    "reset": 0.02,
    "reset after the write": 0.01,
    "truncated": 0.01,
    "stall": 0.02,
    "worker killed": 0.01,
}


class Soak:
    """One episode after another until as many faults are injected as wanted."""

    def __init__(self, folder: Path, seed: int, images: int, often: float) -> None:
        """`often` multiplies the rates of faults."""
        self.folder, self.chance, self.often = folder, random.Random(seed), often
        self.injected: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.images = folder / "images"
        chosen = sorted(IMAGES.rglob("*.png"))[:: 360 // images][:images]
        for path in chosen:
            (self.images / path.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, self.images / path.parent.name)
        self.count, self.episodes = len(chosen), 0
        self.arguments = [str(self.images), "--split", "c006", "--codec", "fp32", "--batch-size", "1", "-q"]
        self.arguments += ["--shard-size", "1"]
        self.expected = undisturbed(self.arguments, folder / "undisturbed")

    def run(self, log: str, weights: Weights, kills: int, *more: str, **environment: str) -> None:
        """One run to its end, checked."""
        self.episodes += 1
        injected: Counter[str] = Counter()
        run = FaultyRun(
            self.chance, [*self.arguments, *more], log, injected, environment, weights, kills, shards=self.count
        )
        run.finish()
        self.injected += injected
        self.refusals += run.refusals
        with_aws = os.environ.get("AWS_ENDPOINT_URL")
        assert with_aws is None or environment.get("AWS_ENDPOINT_URL") != with_aws  # what is checked is not disturbed
        check_log(log, self.expected, injected["runner killed"])

    def faults(
        self, rates: Mapping[str, float], limit: int, hooks: Mapping[str, Callable[[], None]] | None = None
    ) -> Faults:
        rates = {kind: rate * self.often for kind, rate in rates.items()}
        return Faults(random.Random(self.chance.random()), rates, limit, hooks or {})

    def bucket(self, aws: str, bucket: str, weights: Weights, kills: int, faults: int) -> None:
        """A log in a bucket behind a failing S3."""
        drawn = self.faults(S3, faults)
        with FaultProxy(aws.removeprefix("http://"), drawn) as proxy:
            log = f"s3://{bucket}/{self.episodes}"
            self.run(log, weights, kills, AWS_ENDPOINT_URL=proxy.url)
        self.injected.update({f"S3 {kind}": count for kind, count in drawn.injected.items()})

    def tail(self, weights: Weights, kills: int, faults: int) -> None:
        """A tail behind a failing link; its server is killed between a request and its reply."""
        port = free_port()
        servers = [start_server(port)]

        def kill() -> None:
            servers[-1].kill()
            servers[-1].wait()
            servers.append(start_server(port))

        drawn = self.faults(TAIL, faults, {"server killed": kill})
        try:
            with FaultProxy(f"127.0.0.1:{port}", drawn) as proxy:
                self.run(str(self.folder / f"log-{self.episodes}"), weights, kills, "--tail", proxy.url)
        finally:
            for server in servers:
                server.kill()
                server.wait()
        self.injected.update({name_of("tail", kind): count for kind, count in drawn.injected.items()})

    def queue(
        self, aws: str, make_queue: MakeQueue, start_worker: StartWorker, weights: Weights, kills: int, faults: int
    ) -> None:
        """A queue that fails, and its worker, which is killed before it gets the reply to a request."""
        work_queue = make_queue(visibility_s=2)
        workers = [start_worker(work_queue)]

        def kill() -> None:
            workers[-1].kill()
            workers.append(start_worker(work_queue))

        drawn = self.faults(QUEUE, faults, {"worker killed": kill})
        with FaultProxy(aws.removeprefix("http://"), drawn) as proxy:
            log = str(self.folder / f"log-{self.episodes}")
            self.run(log, weights, kills, "--tail", f"sqs:{work_queue.name}", AWS_ENDPOINT_URL=proxy.url)
        workers[-1].kill()
        assert work_queue.count("-dead") == 0
        self.injected.update({name_of("queue", kind): count for kind, count in drawn.injected.items()})


def name_of(what: str, kind: str) -> str:
    return kind if kind.endswith("killed") else f"{what} {kind}"


def start_server(port: int) -> "subprocess.Popen[bytes]":
    command = [*COMMAND, "serve", "digits", "--port", str(port), "-q"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not is_open(port):
        assert server.poll() is None, "the server did not start"
        time.sleep(0.02)
    return server


@pytest.mark.timeout(3600)
def test_every_image_once_after_any_faults(
    rounds: Callable[[int, int], int],
    aws: str,
    bucket: str,
    make_queue: MakeQueue,
    start_worker: StartWorker,
    tmp_path: Path,
):
    wanted = rounds(12, 1000)
    is_long = wanted == 1000
    seed = random.randrange(1 << 32) if is_long else 7
    began = time.monotonic()
    print(f"\nsoak: seed {seed}")  # noqa: T201
    soak = Soak(tmp_path, seed, images=180 if is_long else 12, often=1.0 if is_long else 2.5)
    kills, faults = (6, 120) if is_long else (1, 10)
    bucket_runs, tail_runs, queue_runs = Weights(), Weights(), Weights(clock=0)
    if not is_long:
        bucket_runs, tail_runs = Weights(plain=0, killed=1, two=0, clock=1), Weights(plain=0, killed=1, two=1, clock=0)
        queue_runs = Weights(plain=1, killed=0, two=0, clock=0)
    while soak.injected.total() < wanted and time.monotonic() - began < MAX_S:
        soak.bucket(aws, bucket, bucket_runs, kills, faults)
        soak.tail(tail_runs, kills, faults)
        soak.queue(aws, make_queue, start_worker, queue_runs, kills, faults)
        print(f"soak: {soak.injected.total()} faults, {time.monotonic() - began:.0f} s", flush=True)  # noqa: T201
    totals = dict(sorted(soak.injected.items()))
    took_s = time.monotonic() - began
    print(  # noqa: T201
        f"\nsoak: seed {seed}, {soak.injected.total()} faults in {soak.episodes} runs of {soak.count} images, "
        f"{took_s:.0f} s: {totals}; runs that ended with an error and were repeated: {dict(soak.refusals)}"
    )
    assert soak.injected.total() >= wanted
    kinds = {kind.partition(" ")[0] for kind in totals}
    assert kinds >= {"S3", "tail", "queue", "runner"}
