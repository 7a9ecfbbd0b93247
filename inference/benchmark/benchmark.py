"""The whole benchmark, in rounds: tails and loads take turns, so that noise on the machine affects all of them."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

from hybrid_batch.data.images.images import ImageSet
from hybrid_batch.inference.benchmark.head_encoder import HeadEncoder, read_sample_images
from hybrid_batch.inference.benchmark.latency.target import BenchmarkContext, supports_cut
from hybrid_batch.inference.benchmark.latency.trial import TailRow, Trial, classify, summarize_trial
from hybrid_batch.inference.benchmark.load.driver import Workload, start_load_driver
from hybrid_batch.inference.benchmark.load.level import Level, LevelRow, summarize_level
from hybrid_batch.inference.benchmark.load.overload import OverloadResult, OverloadTest
from hybrid_batch.inference.benchmark.load.server import start_server
from hybrid_batch.inference.benchmark.splits import split_title
from hybrid_batch.inference.planner.plan.prices import Prices
from hybrid_batch.inference.planner.profile.device import Device, find_device
from hybrid_batch.inference.protocol.codecs import IMAGE
from hybrid_batch.inference.runner.split import RemoteSplit, UploadSplit
from hybrid_batch.inference.tails import LOCAL, open_tail, redacted_address


@dataclass(frozen=True, slots=True)
class BenchmarkSpec:
    """What to measure. In each round every tail answers `requests` images with every split, one at a time. Then, for
    each number of `users`, concurrent users send uploads, and frames of `load_split`, to a server that admits
    `max_pending` requests, for `seconds` each. Empty `users`: no server is measured."""

    context: BenchmarkContext
    images: ImageSet
    tails: Sequence[str]
    splits: Sequence[RemoteSplit]
    load_split: RemoteSplit
    users: Sequence[int]
    requests: int
    seconds: float
    rounds: int
    max_pending: int
    prices: Prices

    @property
    def cases(self) -> list[tuple[str, RemoteSplit]]:
        """Each tail's address with each split that it supports."""
        bundle = self.context.bundle
        pairs = product(self.tails, self.splits)
        return [(tail, split) for tail, split in pairs if supports_cut(tail, bundle, split.name)]

    @property
    def steps(self) -> int:
        """The number of calls of `begin_step`."""
        overload = 3 if self.users else 0
        return self.rounds * (len(self.cases) + 2 * len(self.users) + overload)


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """Rows of the tails, rows of the users and the overload test; without users no rows and None. Each case was
    measured in `rounds` rounds, a load phase took `seconds`."""

    model: str
    sha256: str
    machine: Device
    rounds: int
    seconds: float
    tails: Sequence[TailRow]
    users: Sequence[LevelRow]
    overload: OverloadResult | None

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON types."""
        return asdict(self)


def run_benchmark(spec: BenchmarkSpec, begin_step: Callable[[str], None]) -> BenchmarkResult:
    """Measure; `begin_step` is called with a title before each step. All processes that were started have ended on
    return. Raises NoImages, TailUnreachable, TailRefused, and the errors of the tails."""
    machine = find_device()  # before the benchmark itself loads the machine
    bundle = spec.context.bundle
    files = read_sample_images(bundle, spec.images)
    tails = measure_tails(spec, files, begin_step)
    levels, overload = measure_users(spec, files, begin_step) if spec.users else ([], None)
    return BenchmarkResult(bundle.name, bundle.sha256, machine, spec.rounds, spec.seconds, tails, levels, overload)


def measure_tails(spec: BenchmarkSpec, files: Sequence[bytes], begin_step: Callable[[str], None]) -> list[TailRow]:
    """A row for each tail and split."""
    context = spec.context
    bundle, runtime = context.bundle, context.runtime
    encoders = {split: HeadEncoder(bundle, runtime, split) for split in spec.splits}
    upload = UploadSplit(IMAGE)
    with open_tail(LOCAL, bundle, runtime) as tail:
        images = classify(tail, HeadEncoder(bundle, runtime, upload), upload, files)
    trials = [Trial(tail, split) for tail, split in spec.cases]
    for number in range(spec.rounds):
        for trial in trials:
            begin_step(f"round {number + 1}: {redacted_address(trial.address)}, {split_title(trial.split)}")
            trial.measure(context, encoders[trial.split], images, spec.requests)
    return [summarize_trial(trial, bundle, spec.prices) for trial in trials]


def measure_users(
    spec: BenchmarkSpec, files: Sequence[bytes], begin_step: Callable[[str], None]
) -> tuple[list[LevelRow], OverloadResult]:
    """A row for each number of users with uploads and with `load_split`, each against a server of its own; and the
    overload test of the latter server."""
    bundle, runtime = spec.context.bundle, spec.context.runtime
    splits: tuple[RemoteSplit, ...] = (UploadSplit(IMAGE), spec.load_split)
    workloads = [
        Workload(bundle, split, [encoder.encode(file) for file in files])
        for split in splits
        for encoder in [HeadEncoder(bundle, runtime, split)]
    ]
    levels = [(Level(users), side) for users in spec.users for side in (0, 1)]
    overload = OverloadTest(spec.max_pending)
    with ExitStack() as stack:
        driver = stack.enter_context(start_load_driver())
        servers = [stack.enter_context(start_server(bundle, spec.max_pending)) for _ in workloads]
        for server, workload in zip(servers, workloads, strict=True):
            driver.run(server.url, workload, 1, min_requests=len(files))  # the first request waits for compilation
        for number in range(spec.rounds):
            for level, side in levels:
                begin_step(f"round {number + 1}: {level.users} users, {split_title(workloads[side].split)}")
                level.measure(driver, servers[side], workloads[side], spec.seconds)
            for level in overload.levels:
                begin_step(f"round {number + 1}: {level.users} users, {spec.max_pending} admitted")
                level.measure(driver, servers[1], workloads[1], spec.seconds)
    return [summarize_level(level, workloads[side]) for level, side in levels], overload.summarize()
