"""A testbed for splits: this process on one core, a tail on another, endless images, and runs that stop early."""

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

from bench.fixtures import image_folder
from bench.pretrained import PRETRAINED, import_pretrained
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
_MAX_SECONDS, _BATCHES = 5.0, 5
_PROFILE_S = 20.0
_ROWS = 200_000
_MIN_RELATIVE_RATE = 1 / 3
_MIN_GAIN = 1.03  # of a larger batch over a smaller one


class _LongEnough(Exception):
    """Stops a run that was long enough."""


@dataclass(slots=True)
class RunTiming:
    """The completed batches of a run: seconds since its start, number of images, and whether the tail computed them."""

    seconds: float
    began: float = field(default_factory=time.perf_counter)
    batches: list[tuple[float, int, bool]] = field(default_factory=list)
    images_by_split: Counter[Split] = field(default_factory=Counter)
    messages: list[tuple[float, str]] = field(default_factory=list)
    switches: int = 0
    ended: float = float("inf")

    def record(self, batch: Batch) -> None:
        """Record a completed batch."""
        self.images_by_split[batch.split] += len(batch.images)
        insort(self.batches, (batch.done_ns / 1e9 - self.began, len(batch.images), bool(batch.sent_bytes)))

    def stop_if_long_enough(self, _: Batch) -> None:
        """Raise _LongEnough if the run was long enough."""
        now = time.perf_counter() - self.began
        if now > self.seconds and (len(self.batches) > _BATCHES or now > _MAX_SECONDS):
            self.ended = now  # batches in flight still complete, but no others start
            raise _LongEnough

    def record_and_stop(self, batch: Batch) -> None:
        """Record a completed batch, and raise _LongEnough if the run was long enough."""
        self.record(batch)
        self.stop_if_long_enough(batch)

    def log_message(self, line: str) -> None:
        """Record a message of the router."""
        self.messages.append((time.perf_counter() - self.began, line))

    def rate(self, start: float | None = None, end: float | None = None) -> float:
        """Return the images/s between two times (s), by default from the full pipeline to the stop of the run."""
        low = self.batches[len(self.batches) // 4][0] if start is None else start
        high = self.ended if end is None else end
        inside = [one for one in self.batches if low <= one[0] <= high]
        passed = inside[-1][0] - inside[0][0] if len(inside) > 1 else 0.0
        return sum(images for _, images, _ in inside[1:]) / passed if passed else 0.0

    @property
    def remote_share(self) -> float:
        """The share of images computed by the tail, from 0 to 1."""
        return sum(images for _, images, sent in self.batches if sent) / sum(images for _, images, _ in self.batches)


class _RecordingRouter(AdaptiveRouter):
    """Records batches when they complete; the runner returns them later, in order."""

    timing: RunTiming

    def on_response(self, batch: Batch) -> None:
        super().on_response(batch)
        with self._lock:
            self.timing.record(batch)


class TailServer:
    """A tail pinned to its core; it can be killed and restarted on its port."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self.port = 0
        self.started = 0.0
        self.start()

    def start(self) -> None:
        """Start the server and wait until it listens."""
        command = [sys.executable, "-m", "hybrid_batch", "serve", str(self._bundle.path), "--json"]
        self._process = subprocess.Popen(
            ["taskset", "-c", str(TAIL_CORE), *command, "--port", str(self.port)],  # noqa: S607 - found on PATH
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None  # noqa: S101
        self.port = int(json.loads(self._process.stdout.readline())["url"].rpartition(":")[2])
        self.started = time.perf_counter()

    def kill(self) -> None:
        """Kill the server without a shutdown."""
        self._process.kill()
        self._process.communicate()


class Testbed:
    """One model, its server, and its images."""

    def __init__(self, bundle: Bundle, images: ImageSet, folder: Path) -> None:
        self.bundle = bundle
        self.request = PlanRequest()
        self.runtime: Runtime = open_runtime("openvino", bundle)
        self.labelled = images
        rows = pa.array(np.arange(_ROWS) % images.table.num_rows)
        self.images = ImageSet(images.root, images.table.take(rows))
        self._logs = (folder / f"log-{bundle.name}-{number}" for number in count())
        self.server = TailServer(bundle)

    @contextmanager
    def tail(self, port: int, response_timeout_s: float = 10) -> Iterator[Tail]:
        """Open the tail through a port: that of a link or of the server."""
        settings = TailSettings(4, RetryPolicy(connect_timeout_s=2, response_timeout_s=response_timeout_s, attempts=2))
        with open_http_tail(f"http://127.0.0.1:{port}", self.bundle, settings) as tail:
            yield tail

    def profile(self, tail: Tail) -> Profile:
        """Measure the profile: the model once, the link in each call."""
        target = ProfileTarget(self.bundle, self.runtime, tail, "the tail", 32, self.images)
        return open_profile(target, lambda _: None, budget_s=_PROFILE_S)

    def run_fixed(self, route: Route, tail: Tail, seconds: float = SECONDS) -> RunTiming:
        """Run with a fixed route for some seconds."""
        if not isinstance(route.split, LocalSplit):
            tail.check(route.split.name)
        timing = RunTiming(seconds)
        timing.began = time.perf_counter()
        self.run(FixedRouter(route.split, route.batch_size), tail, timing.record_and_stop)
        return timing

    def run_auto(
        self, profile: Profile, tail: Tail, seconds: float, events: Sequence[tuple[float, Callable[[], None]]] = ()
    ) -> tuple[RunTiming, Plan]:
        """Run with --split auto and call functions at their times (s); return the timing and the last plan."""
        timing = RunTiming(seconds)
        router = _RecordingRouter(self.bundle, profile, self.request, tail, timing.log_message)
        router.timing = timing
        timers = [threading.Timer(at, act) for at, act in events]
        timing.began = time.perf_counter()
        for timer in timers:
            timer.start()
        self.run(router, tail, timing.stop_if_long_enough)
        for timer in timers:
            timer.join()
        timing.switches = router.switches
        return timing, router.plan

    def run(
        self,
        router: Router,
        tail: Tail,
        watch: Callable[[Batch], None],
        *,
        root: Storage | None = None,
        images: int = _ROWS,
    ) -> None:
        """Run some images, by default endless ones, into a new log, until `watch` raises _LongEnough."""
        folder = RunFolder(open_storage(str(next(self._logs))))
        image_set = ImageSet(root or self.images.root, self.images.table.slice(0, images))
        concurrency = Concurrency(decoders=1)
        spec = RunSpec(self.bundle, router, self.runtime, tail, "tail", image_set, folder, 512, concurrency)
        with suppress(_LongEnough):
            run_shards(spec, watch)


def route_of(candidate: Candidate) -> Route:
    """Return the route of a candidate for `run_fixed`."""
    return Route(candidate.split, candidate.batch)


def candidates_to_run(plan: Plan) -> list[Candidate]:
    """Return the local candidate, uploads, and the cuts with fewer elements than all earlier ones, each with its best
    batch size. Of nearly equal batch sizes the smallest is taken, and cuts with a predicted rate below a third of the
    best are left out."""
    best: dict[str, Candidate] = {}
    for one in plan.candidates:
        if one.name not in best or one.rate > _MIN_GAIN * best[one.name].rate:
            best[one.name] = one
    fewest, chosen = float("inf"), []
    for one in best.values():
        if one.cut is None or one.name.startswith("upload"):
            chosen.append(one)
        elif one.cut.elements < fewest:
            fewest = one.cut.elements
            chosen.append(one)
    most = max(one.rate for one in chosen)
    return [
        one
        for one in chosen
        if one.cut is None or one.name.startswith("upload") or one.rate >= _MIN_RELATIVE_RATE * most
    ]


@contextmanager
def testbeds(*names: str) -> Iterator[Iterator[Testbed]]:
    """Yield one testbed after the other for models of keras.applications with random weights or pretrained models. This
    process is pinned to a core until the end of the block."""
    allowed = os.sched_getaffinity(0)
    with TemporaryDirectory() as folder, image_folder(50, 240, 320) as images:
        os.environ["HYBRID_BATCH_CACHE"] = folder
        opened: list[Testbed] = []

        def each() -> Iterator[Testbed]:
            for name in names:
                bundle, images_of_model = _open_model(name, Path(folder), images)
                for thread in psutil.Process().threads():
                    with suppress(OSError):
                        os.sched_setaffinity(thread.id, {LOCAL_CORE})
                opened.append(Testbed(bundle, images_of_model, Path(folder)))
                yield opened[-1]
                opened.pop().server.kill()

        try:
            yield each()
        finally:
            for testbed in opened:
                testbed.server.kill()
            os.sched_setaffinity(0, allowed)


def _open_model(name: str, folder: Path, images: Path) -> tuple[Bundle, ImageSet]:
    if name in PRETRAINED:
        return import_pretrained(name, folder)
    path = folder / f"{name}.bundle"
    command = [sys.executable, "-m", "hybrid_batch", "import", f"app:{name}", "--weights", "none"]
    subprocess.run([*command, "-o", str(path)], check=True, capture_output=True)
    return resolve_model(str(path)), find_images(str(images))
