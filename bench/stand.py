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

from bench.published import PUBLISHED, import_published
from bench.subjects import pictures
from hybrid_batch.data.images.images import Images, find_images
from hybrid_batch.data.log.runs import RunFolder
from hybrid_batch.data.storage.storage import Storage, open_storage
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.importing.resolve_model import open_model
from hybrid_batch.inference.model.runtimes import Engine, open_engine
from hybrid_batch.inference.planner.adapt.adaptive_router import Follower
from hybrid_batch.inference.planner.plan.candidates import Candidate
from hybrid_batch.inference.planner.plan.plan import Plan, Wishes
from hybrid_batch.inference.planner.profile.profile import Profile
from hybrid_batch.inference.planner.profile.profile_store import open_profile
from hybrid_batch.inference.planner.profile.target import Subject
from hybrid_batch.inference.runner.batch import Batch
from hybrid_batch.inference.runner.routing import Route
from hybrid_batch.inference.runner.runner import Job, Pace, run_shards
from hybrid_batch.inference.runner.split import HERE, Split
from hybrid_batch.inference.tails import Tail
from hybrid_batch.inference.tails.http import http_tail
from hybrid_batch.inference.tails.retry_policy import Patience
from hybrid_batch.inference.tails.settings import TailSettings

QUICK = "--quick" in sys.argv
SECONDS = 1.5
HERE_CORE, TAIL_CORE = 0, 1
_MOST_SECONDS, _BATCHES = 5.0, 5
_PROFILE_S = 20.0
_ROWS = 200_000
_LEAST_RATE = 1 / 3
_WORTH = 1.03  # a larger batch must be so much better


class _Enough(Exception):
    """The run was long enough."""


@dataclass(slots=True)
class Timed:
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
        insort(self.seen, (batch.done / 1e9 - self.began, len(batch.images), bool(batch.sent_bytes)))

    def check(self, _: Batch) -> None:
        """For the runner: whether it was long enough."""
        now = time.perf_counter() - self.began
        if now > self.seconds and (len(self.seen) > _BATCHES or now > _MOST_SECONDS):
            self.ended = now  # what is under way is still waited for, while nothing else is done
            raise _Enough

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


class _Noting(Follower):
    """Batches are handed out in order, some of them long after they are done: they are noted when they are."""

    timed: Timed

    def answered(self, batch: Batch) -> None:
        super().answered(batch)
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


class Stand:
    """One model, its server, and everything to run with them."""

    def __init__(self, bundle: Bundle, images: Images, folder: Path) -> None:
        self.bundle = bundle
        self.wishes = Wishes()
        self.engine: Engine = open_engine("openvino", bundle)
        self.labelled = images
        rows = pa.array(np.arange(_ROWS) % images.table.num_rows)
        self.images = Images(images.root, images.table.take(rows))
        self._logs = (folder / f"log-{bundle.name}-{number}" for number in count())
        self.server = Server(bundle)

    @contextmanager
    def tail(self, port: int, answer_s: float = 10) -> Iterator[Tail]:
        """The server through a link at a port."""
        settings = TailSettings(4, Patience(connect_s=2, answer_s=answer_s, attempts=2))
        with http_tail(f"http://127.0.0.1:{port}", self.bundle, settings) as tail:
            yield tail

    def profile(self, tail: Tail) -> Profile:
        """Measured once a model, the link each time."""
        subject = Subject(self.bundle, self.engine, tail, "the tail", 32, self.images)
        return open_profile(subject, lambda _: None, budget_s=_PROFILE_S)

    def fixed(self, route: Route, tail: Tail, seconds: float = SECONDS) -> Timed:
        """Run in one way."""
        if route.split.cut is not None:
            tail.check(route.split.cut.id)
        timed = Timed(seconds)
        timed.began = time.perf_counter()
        self.run(route, tail, timed.watch)
        return timed

    def auto(
        self, profile: Profile, tail: Tail, seconds: float, moments: Sequence[tuple[float, Callable[[], None]]] = ()
    ) -> tuple[Timed, Plan]:
        """Follow, while at moments (s) something happens; and the plan at the end."""
        timed = Timed(seconds)
        follower = _Noting(self.bundle, profile, self.wishes, tail, timed.say)
        follower.timed = timed
        timers = [threading.Timer(at, act) for at, act in moments]
        timed.began = time.perf_counter()
        for timer in timers:
            timer.start()
        self.run(Route(HERE, follower.plan.chosen.batch), tail, timed.check, follower=follower)
        for timer in timers:
            timer.join()
        timed.switches = follower.switches
        return timed, follower.plan

    def run(
        self,
        route: Route,
        tail: Tail,
        watch: Callable[[Batch], None],
        *,
        follower: Follower | None = None,
        root: Storage | None = None,
        images: int = _ROWS,
    ) -> None:
        """Run so many pictures, by default without end, into a log of its own, until `watch` has enough."""
        folder = RunFolder(open_storage(str(next(self._logs))))
        pictures = Images(root or self.images.root, self.images.table.slice(0, images))
        pace = Pace(route.batch_size, decoders=1)
        job = Job(self.bundle, route.split, self.engine, tail, "tail", pictures, folder, 512, pace, follower)
        with suppress(_Enough):
            run_shards(job, watch)


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
def stands(*names: str) -> Iterator[Iterator[Stand]]:
    """A stand for each model, of keras.applications with random weights or a published one, one after the other; this
    process is pinned meanwhile."""
    allowed = os.sched_getaffinity(0)
    with TemporaryDirectory() as folder, pictures(50, 240, 320) as images:
        os.environ["HYBRID_BATCH_CACHE"] = folder
        made: list[Stand] = []

        def each() -> Iterator[Stand]:
            for name in names:
                bundle, found = _made(name, Path(folder), images)
                for thread in psutil.Process().threads():
                    with suppress(OSError):
                        os.sched_setaffinity(thread.id, {HERE_CORE})
                made.append(Stand(bundle, found, Path(folder)))
                yield made[-1]
                made.pop().server.kill()

        try:
            yield each()
        finally:
            for stand in made:
                stand.server.kill()
            os.sched_setaffinity(0, allowed)


def _made(name: str, folder: Path, images: Path) -> tuple[Bundle, Images]:
    if name in PUBLISHED:
        return import_published(name, folder)
    path = folder / f"{name}.bundle"
    command = [sys.executable, "-m", "hybrid_batch", "import", f"app:{name}", "--weights", "none"]
    subprocess.run([*command, "-o", str(path)], check=True, capture_output=True)
    return open_model(str(path)), find_images(str(images))
