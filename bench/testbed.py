"""A stand to measure splits on: this process on one core, a tail on another, pictures without end, runs cut short."""

import json
import os
import subprocess
import sys
import threading
import time
from bisect import insort
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil
import pyarrow as pa

from bench.pretrained import PUBLISHED, import_published
from bench.fixtures import pictures
from hybrid_batch.data.images.images import ImageSet, find_images
from hybrid_batch.data.log.runs import RunFolder
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.data.storage.storage import Storage
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.importing.resolve_model import resolve_model
from hybrid_batch.inference.model.runtimes import Runtime, open_runtime
from hybrid_batch.inference.planner.adapt.adaptive_router import AdaptiveRouter
from hybrid_batch.inference.planner.plan.candidates import Candidate
from hybrid_batch.inference.planner.plan.plan import Plan, PlanRequest
from hybrid_batch.inference.planner.profile.profile import Profile
from hybrid_batch.inference.planner.profile.profile_store import open_profile
from hybrid_batch.inference.planner.profile.target import ProfileTarget
from hybrid_batch.inference.runner.batch import Batch
from hybrid_batch.inference.runner.routing import FixedRouter, Route, Router
from hybrid_batch.inference.runner.runner import Concurrency, RunSpec, run_shards
from hybrid_batch.inference.runner.split import LocalSplit, Split
from hybrid_batch.inference.tails import Tail
from hybrid_batch.inference.tails.http import open_http_tail
from hybrid_batch.inference.tails.settings import RetryPolicy, TailSettings

QUICK = "--quick" in sys.argv
SECONDS = 1.5
LOCAL_CORE, TAIL_CORE = 0, 1
_MOST_SECONDS, _BATCHES = 5.0, 5
_PROFILE_S = 20.0
_ROWS = 200_000
_LEAST_RATE = 1 / 3
_WORTH = 1.03  # a larger batch must be so much better


class _LongEnough(Exception):
    """The run was long enough."""


@dataclass(slots=True)
class RunTiming:
    """When batches were done: seconds since the start, images, whether the tail did them."""

    seconds: float
    began: float = field(default_factory=time.perf_counter)
    seen: list[tuple[float, int, bool]] = field(default_factory=list)
    ways: Counter[Split] = field(default_factory=Counter)
    said: list[tuple[float, str]] = field(default_factory=list)
    switches: int = 0
    ended: float = float("inf")

    def note(self, batch: Batch) -> None:
        """A batch is done."""
        self.ways[batch.split] += len(batch.images)
        insort(self.seen, (batch.done_ns / 1e9 - self.began, len(batch.images), bool(batch.sent_bytes)))

    def check(self, _: Batch) -> None:
        """For the runner: whether it was long enough."""
        now = time.perf_counter() - self.began
        if now > self.seconds and (len(self.seen) > _BATCHES or now > _MOST_SECONDS):
            self.ended = now  # what is under way is still waited for, while nothing else is done
            raise _LongEnough

    def watch(self, batch: Batch) -> None:
        """Both."""
        self.note(batch)
        self.check(batch)

    def say(self, line: str) -> None:
        """For the follower."""
        self.said.append((time.perf_counter() - self.began, line))

    def rate(self, start: float | None = None, end: float | None = None) -> float:
        """Images/s between two moments, by default once the pipeline is full and until it was long enough."""
        low = self.seen[len(self.seen) // 4][0] if start is None else start
        high = self.ended if end is None else end
        inside = [one for one in self.seen if low <= one[0] <= high]
        passed = inside[-1][0] - inside[0][0] if len(inside) > 1 else 0.0
        return sum(images for _, images, _ in inside[1:]) / passed if passed else 0.0

    @property
    def sent(self) -> float:
        """The share of the images that the tail did."""
        return sum(images for _, images, sent in self.seen if sent) / sum(images for _, images, _ in self.seen)


class _RecordingRouter(AdaptiveRouter):
    """Batches are handed out in order, some of them long after they are done: they are noted when they are."""

    timed: RunTiming

    def on_response(self, batch: Batch) -> None:
        super().on_response(batch)
        with self._lock:
            self.timed.note(batch)


class Server:
    """A tail pinned to its core; it may be killed and started again at its port."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self.port = 0
        self.started = 0.0
        self.start()

    def start(self) -> None:
        """Until it answers."""
        command = [sys.executable, "-m", "hybrid_batch", "serve", str(self._bundle.path), "--json"]
        self._process = subprocess.Popen(
            ["taskset", "-c", str(TAIL_CORE), *command, "--port", str(self.port)],  # noqa: S607 - wherever it is
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None  # noqa: S101
        self.port = int(json.loads(self._process.stdout.readline())["url"].rpartition(":")[2])
        self.started = time.perf_counter()

    def kill(self) -> None:
        """At once."""
        self._process.kill()
        self._process.communicate()


class Testbed:
    """One model, its server, and everything to run with them."""

    def __init__(self, bundle: Bundle, images: ImageSet, folder: Path) -> None:
        self.bundle = bundle
        self.wishes = PlanRequest()
        self.engine: Runtime = open_runtime("openvino", bundle)
        self.labelled = images
        rows = pa.array(np.arange(_ROWS) % images.table.num_rows)
        self.images = ImageSet(images.root, images.table.take(rows))
        self._logs = (folder / f"log-{bundle.name}-{number}" for number in count())
        self.server = Server(bundle)

    @contextmanager
    def tail(self, port: int, response_timeout_s: float = 10) -> Iterator[Tail]:
        """The server through a link at a port."""
        settings = TailSettings(4, RetryPolicy(connect_timeout_s=2, response_timeout_s=response_timeout_s, attempts=2))
        with open_http_tail(f"http://127.0.0.1:{port}", self.bundle, settings) as tail:
            yield tail

    def profile(self, tail: Tail) -> Profile:
        """Measured once a model, the link each time."""
        subject = ProfileTarget(self.bundle, self.engine, tail, "the tail", 32, self.images)
        return open_profile(subject, lambda _: None, budget_s=_PROFILE_S)

    def fixed(self, route: Route, tail: Tail, seconds: float = SECONDS) -> RunTiming:
        """Run in one way."""
        if not isinstance(route.split, LocalSplit):
            tail.check(route.split.name)
        timed = RunTiming(seconds)
        timed.began = time.perf_counter()
        self.run(FixedRouter(route.split, route.batch_size), tail, timed.watch)
        return timed

    def auto(
        self, profile: Profile, tail: Tail, seconds: float, moments: Sequence[tuple[float, Callable[[], None]]] = ()
    ) -> tuple[RunTiming, Plan]:
        """Follow, while at moments (s) something happens; and the plan at the end."""
        timed = RunTiming(seconds)
        follower = _RecordingRouter(self.bundle, profile, self.wishes, tail, timed.say)
        follower.timed = timed
        timers = [threading.Timer(at, act) for at, act in moments]
        timed.began = time.perf_counter()
        for timer in timers:
            timer.start()
        self.run(follower, tail, timed.check)
        for timer in timers:
            timer.join()
        timed.switches = follower.switches
        return timed, follower.plan

    def run(
        self,
        router: Router,
        tail: Tail,
        watch: Callable[[Batch], None],
        *,
        root: Storage | None = None,
        images: int = _ROWS,
    ) -> None:
        """Run so many pictures, by default without end, into a log of its own, until `watch` has enough."""
        folder = RunFolder(open_storage(str(next(self._logs))))
        pictures = ImageSet(root or self.images.root, self.images.table.slice(0, images))
        concurrency = Concurrency(decoders=1)
        spec = RunSpec(self.bundle, router, self.engine, tail, "tail", pictures, folder, 512, concurrency)
        with suppress(_LongEnough):
            run_shards(spec, watch)


def route_of(candidate: Candidate) -> Route:
    """For `fixed`."""
    return Route(candidate.split, candidate.batch)


def worth_running(plan: Plan) -> list[Candidate]:
    """Everything here, the pictures' upload, and cuts with fewer elements than all before them, each at its best batch
    size (of nearly equal ones the smallest); of these the ones told to reach a third of the best."""
    best: dict[str, Candidate] = {}
    for one in plan.candidates:
        if one.name not in best or one.rate > _WORTH * best[one.name].rate:
            best[one.name] = one
    fewest, kept = float("inf"), []
    for one in best.values():
        if one.cut is None or one.name.startswith("upload"):
            kept.append(one)
        elif one.cut.elements < fewest:
            fewest = one.cut.elements
            kept.append(one)
    most = max(one.rate for one in kept)
    return [one for one in kept if one.cut is None or one.name.startswith("upload") or one.rate >= _LEAST_RATE * most]


@contextmanager
def testbeds(*names: str) -> Iterator[Iterator[Testbed]]:
    """A stand for each model, of keras.applications with random weights or a published one, one after the other; this
    process is pinned meanwhile."""
    allowed = os.sched_getaffinity(0)
    with TemporaryDirectory() as folder, pictures(50, 240, 320) as images:
        os.environ["HYBRID_BATCH_CACHE"] = folder
        made: list[Testbed] = []

        def each() -> Iterator[Testbed]:
            for name in names:
                bundle, found = _made(name, Path(folder), images)
                for thread in psutil.Process().threads():
                    with suppress(OSError):
                        os.sched_setaffinity(thread.id, {LOCAL_CORE})
                made.append(Testbed(bundle, found, Path(folder)))
                yield made[-1]
                made.pop().server.kill()

        try:
            yield each()
        finally:
            for stand in made:
                stand.server.kill()
            os.sched_setaffinity(0, allowed)


def _made(name: str, folder: Path, images: Path) -> tuple[Bundle, ImageSet]:
    if name in PUBLISHED:
        return import_published(name, folder)
    path = folder / f"{name}.bundle"
    command = [sys.executable, "-m", "hybrid_batch", "import", f"app:{name}", "--weights", "none"]
    subprocess.run([*command, "-o", str(path)], check=True, capture_output=True)
    return resolve_model(str(path)), find_images(str(images))
