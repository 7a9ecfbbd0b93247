"""One number of concurrent users: its measurements, and their summary as a row of the result."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from hybrid_batch.inference.benchmark.load.client import LoadResult
from hybrid_batch.inference.benchmark.load.driver import LoadDriver, Workload
from hybrid_batch.inference.benchmark.load.server import LocalServer
from hybrid_batch.inference.benchmark.load.usage import ProcessUsage
from hybrid_batch.inference.benchmark.percentile import Percentiles


@dataclass(frozen=True, slots=True)
class LoadSample:
    """One phase: the users' result, and the server's CPU seconds and peak memory during it."""

    result: LoadResult
    cpu_s: float
    peak_bytes: int

    @property
    def answered(self) -> int:
        """Number of images answered."""
        return len(self.result.latencies_us)


@dataclass(slots=True)
class Level:
    """A number of concurrent users, and one sample for each phase measured so far."""

    users: int
    samples: list[LoadSample] = field(default_factory=list)

    def measure(self, driver: LoadDriver, server: LocalServer, workload: Workload, seconds: float) -> None:
        """Run one phase of `seconds` and add its sample."""
        with ProcessUsage(server.process) as usage:
            result = driver.run(server.url, workload, self.users, seconds=seconds)
        self.samples.append(LoadSample(result, usage.cpu_s, usage.peak_bytes))


@dataclass(frozen=True, slots=True)
class LevelRow:
    """The result for one number of users and one split.

    Latencies are of all phases together, in ms, from the first attempt to the answer, waiting after 429 and 503
    included. Rate (images/s) and CPU are medians of the phases, memory is the maximum. `refused` counts 429 and 503,
    `waited_s` is the waiting of all users because of them, `errors` counts failures by cause. `cpu_ms` is the server's
    CPU time per image, `client_cpu_ms` that of the users. Bytes are means per image, headers and refusals included."""

    users: int
    cut: str
    codec: str
    rate: float
    latency: Percentiles
    answered: int
    errors: dict[str, int]
    refused: int
    waited_s: float
    cpu_ms: float
    client_cpu_ms: float
    memory_bytes: int
    sent_bytes: float
    received_bytes: float

    @property
    def failed(self) -> int:
        """Number of failed requests."""
        return sum(self.errors.values())


def summarize_level(level: Level, workload: Workload) -> LevelRow:
    """Summarize all samples of a level as one row."""
    results = [sample.result for sample in level.samples]
    latencies_us = [us for result in results for us in result.latencies_us]
    errors: dict[str, int] = {}
    for result in results:
        for cause, count in result.errors.items():
            errors[cause] = errors.get(cause, 0) + count
    answered = max(1, len(latencies_us))
    return LevelRow(
        level.users,
        workload.split.name,
        workload.split.codec,
        statistics.median(result.rate for result in results),
        Percentiles.of_us(latencies_us),
        len(latencies_us),
        errors,
        sum(result.refused for result in results),
        sum(result.waited_us for result in results) / 1e6,
        _median_ms(level.samples, [sample.cpu_s for sample in level.samples]),
        _median_ms(level.samples, [sample.result.cpu_s for sample in level.samples]),
        max(sample.peak_bytes for sample in level.samples),
        sum(result.sent_bytes for result in results) / answered,
        sum(result.received_bytes for result in results) / answered,
    )


def _median_ms(samples: Sequence[LoadSample], cpu_s: Sequence[float]) -> float:
    """The median over samples of CPU ms per image answered."""
    return statistics.median(1000 * s / max(1, one.answered) for one, s in zip(samples, cpu_s, strict=True))
