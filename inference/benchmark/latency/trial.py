"""The trial of one tail with one split: a cold answer, many warm ones, and their summary."""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hybrid_batch.inference.benchmark.cost import ImageUsage, cost_per_1000_images
from hybrid_batch.inference.benchmark.head_encoder import HeadEncoder
from hybrid_batch.inference.benchmark.latency.target import BenchmarkContext, open_target
from hybrid_batch.inference.benchmark.percentile import Percentiles
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.planner.plan.prices import Prices
from hybrid_batch.inference.runner.split import RemoteSplit
from hybrid_batch.inference.tails import Tail, redacted_address


@dataclass(frozen=True, slots=True)
class Measurement:
    """One image. Times in µs: decode, head and encode on this machine (`local_us`); the round trip; the tail's work
    within it without waiting (`compute_us`) and with waiting (`tail_us`). `agrees`: the class equals that of the whole
    model on this machine."""

    local_us: float
    round_trip_us: float
    compute_us: float
    tail_us: float
    sent_bytes: int
    received_bytes: int
    agrees: bool

    @property
    def latency_us(self) -> float:
        """The whole time of the image."""
        return self.local_us + self.round_trip_us

    @property
    def overhead_us(self) -> float:
        """The round trip less the tail's work: link, waiting, server."""
        return max(0.0, self.round_trip_us - self.compute_us)


@dataclass(slots=True)
class Trial:
    """The measurements of one tail with one split. `cold_us` has, for each round, what the first answer includes and
    its time."""

    address: str
    split: RemoteSplit
    cold_us: list[tuple[str, float]] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)

    def measure(
        self, context: BenchmarkContext, encoder: HeadEncoder, images: Mapping[bytes, int], requests: int
    ) -> None:
        """One round: a cold answer, then `requests` warm ones. `images` has the expected class of each file."""
        files = list(images)
        first = encoder.encode(files[0])
        with open_target(self.address, context) as target:
            target.tail.infer(self.split.name, first.frame)
            self.cold_us.append((target.cold_includes, (time.perf_counter_ns() - target.began_ns) / 1000))
            for number in range(requests):
                file = files[number % len(files)]
                self.measurements.append(measure_image(target.tail, encoder, self.split, file, images[file]))


@dataclass(frozen=True, slots=True)
class TailRow:
    """The result of one tail with one split. Times are in ms: `cold_ms` is the median of the first answers, whose time
    includes `cold_includes`; `warm` are percentiles of all others, `local_ms`, `compute_ms` and `overhead_ms` medians.
    Bytes are means per image, `cost` is USD per 1,000 images, `agreement` the share of answers with the class that the
    whole model gives on this machine."""

    tail: str
    cut: str
    name: str
    codec: str
    cold_includes: str
    cold_ms: float
    warm: Percentiles
    local_ms: float
    overhead_ms: float
    compute_ms: float
    sent_bytes: float
    received_bytes: float
    cost: float
    agreement: float
    requests: int


def measure_image(tail: Tail, encoder: HeadEncoder, split: RemoteSplit, file: bytes, expected: int) -> Measurement:
    """Classify one image file; `expected` is its class."""
    encoded = encoder.encode(file)
    answer = tail.infer(split.name, encoded.frame)
    times = answer.timings
    return Measurement(
        encoded.local_us,
        answer.round_trip_us,
        times.decode_us + times.tail_us,
        times.server_us,
        answer.sent_bytes,
        answer.received_bytes,
        int(np.argmax(answer.scores[0])) == expected,
    )


def classify(tail: Tail, encoder: HeadEncoder, split: RemoteSplit, files: Sequence[bytes]) -> dict[bytes, int]:
    """The class of each image file."""
    return {file: int(np.argmax(tail.infer(split.name, encoder.encode(file).frame).scores[0])) for file in files}


def summarize_trial(trial: Trial, bundle: Bundle, prices: Prices) -> TailRow:
    """Summarize a trial of the bundle as one row."""
    measured = trial.measurements
    sent = statistics.fmean(one.sent_bytes for one in measured)
    received = statistics.fmean(one.received_bytes for one in measured)
    tail_s = statistics.median(one.tail_us for one in measured) / 1e6
    kinds = {kind for kind, _ in trial.cold_us}
    return TailRow(
        redacted_address(trial.address),
        trial.split.name,
        bundle.cut(trial.split.name).name,
        trial.split.codec,
        kinds.pop() if len(kinds) == 1 else "/".join(sorted(kinds)),
        statistics.median(us for _, us in trial.cold_us) / 1000,
        Percentiles.of_us([one.latency_us for one in measured]),
        _median_ms([one.local_us for one in measured]),
        _median_ms([one.overhead_us for one in measured]),
        _median_ms([one.compute_us for one in measured]),
        sent,
        received,
        cost_per_1000_images(trial.address, ImageUsage(tail_s, sent, received), prices),
        statistics.fmean(one.agrees for one in measured),
        len(measured),
    )


def _median_ms(values_us: Sequence[float]) -> float:
    return statistics.median(values_us) / 1000
