"""A number of users at once: what they saw of the server, and what that took of it."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from hybrid_batch.inference.benchmark.clients import Tally
from hybrid_batch.inference.benchmark.crowd import Crowd, Load
from hybrid_batch.inference.benchmark.percentile import Percentiles
from hybrid_batch.inference.benchmark.server import Server
from hybrid_batch.inference.benchmark.usage import Usage


@dataclass(frozen=True, slots=True)
class Seen:
    """One turn: what the users tell, the server's seconds of CPU, and its memory at the most."""

    tally: Tally
    cpu_s: float
    peak_bytes: int

    @property
    def answered(self) -> int:
        """Images."""
        return len(self.tally.latencies_us)


@dataclass(slots=True)
class Level:
    """So many users, and what their turns have shown so far."""

    users: int
    seen: list[Seen] = field(default_factory=list)

    def take_turn(self, crowd: Crowd, server: Server, load: Load, seconds: float) -> None:
        """Let all of them ask for so long."""
        with Usage(server.process) as usage:
            tally = crowd.use(server.url, load, self.users, seconds=seconds)
        self.seen.append(Seen(tally, usage.cpu_s, usage.peak_bytes))


@dataclass(frozen=True, slots=True)
class LevelRow:
    """So many users who go one way. Latencies are of all turns together, from a user's first asking to the answer in
    hand, with what he waited when told to come later; rate and CPU are medians of the turns, memory is the most of any.
    `refused` counts 429 and 503, `waited_s` is what all users waited because of them, `errors` what went wrong by what
    it was. CPU is the server's, ms an image; `client_cpu_ms` the users' own; bytes are an image's, headers and
    refusals included."""

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
        """Requests that went wrong."""
        return sum(self.errors.values())


def sum_up(level: Level, load: Load) -> LevelRow:
    """A level as a row."""
    tallies = [seen.tally for seen in level.seen]
    latencies = [us for tally in tallies for us in tally.latencies_us]
    errors: dict[str, int] = {}
    for tally in tallies:
        for cause, count in tally.errors.items():
            errors[cause] = errors.get(cause, 0) + count
    answered = max(1, len(latencies))
    return LevelRow(
        level.users,
        load.way.cut.id,
        load.way.codec,
        statistics.median(tally.rate for tally in tallies),
        Percentiles.of_us(latencies),
        len(latencies),
        errors,
        sum(tally.refused for tally in tallies),
        sum(tally.waited_us for tally in tallies) / 1e6,
        _median_ms(level.seen, [seen.cpu_s for seen in level.seen]),
        _median_ms(level.seen, [seen.tally.cpu_s for seen in level.seen]),
        max(seen.peak_bytes for seen in level.seen),
        sum(tally.sent_bytes for tally in tallies) / answered,
        sum(tally.received_bytes for tally in tallies) / answered,
    )


def _median_ms(seen: Sequence[Seen], seconds: Sequence[float]) -> float:
    """Of the turns, ms an image answered."""
    return statistics.median(1000 * spent / max(1, one.answered) for one, spent in zip(seen, seconds, strict=True))
