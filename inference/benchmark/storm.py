"""More users than a server lets in: it must turn some away, answer all in the end, and be as fast afterwards."""

import statistics
from dataclasses import dataclass

from hybrid_batch.inference.benchmark.level import Level

_CALM = 8
_TIMES_QUEUE, _MOST = 4, 1000


@dataclass(frozen=True, slots=True)
class Storm:
    """`users` came to a server that lets in `queue` requests. Rates (images/s) of `calm_users` before and after are
    medians of the rounds; what happened in the storm is of all rounds together."""

    users: int
    queue: int
    calm_users: int
    before: float
    during: float
    after: float
    answered: int
    refused: int
    waited_s: float
    errors: int


class Weather:
    """Rounds of calm, storm, calm."""

    def __init__(self, queue: int) -> None:
        self._queue = queue
        self._calm = min(_CALM, queue)
        self._before, self._after = Level(self._calm), Level(self._calm)
        self._storm = Level(max(queue + 1, min(_TIMES_QUEUE * queue, _MOST)))

    @property
    def turns(self) -> tuple[Level, Level, Level]:
        """Of one round, in order; whoever calls lets them take it."""
        return self._before, self._storm, self._after

    def sum_up(self) -> Storm:
        """What the rounds have shown."""
        before, during, after = (
            statistics.median(seen.tally.rate for seen in level.seen)
            for level in (self._before, self._storm, self._after)
        )
        tallies = [seen.tally for seen in self._storm.seen]
        return Storm(
            self._storm.users,
            self._queue,
            self._calm,
            before,
            during,
            after,
            sum(len(tally.latencies_us) for tally in tallies),
            sum(tally.refused for tally in tallies),
            sum(tally.waited_us for tally in tallies) / 1e6,
            sum(sum(tally.errors.values()) for tally in tallies),
        )
