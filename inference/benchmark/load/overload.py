"""The overload test: more users than a server admits.

The server must refuse some requests, answer all of them in the end, and be as fast afterwards as before.
"""

import statistics
from dataclasses import dataclass

from hybrid_batch.inference.benchmark.load.level import Level

_BASELINE_USERS = 8
_OVERLOAD_FACTOR, _MAX_USERS = 4, 1000


@dataclass(frozen=True, slots=True)
class OverloadResult:
    """`users` sent requests to a server that admits `max_pending` at once. `before` and `after` are the rates
    (images/s) of `baseline_users`, medians of the rounds, `during` that of all users. Counts are of the overload
    phases of all rounds together."""

    users: int
    max_pending: int
    baseline_users: int
    before: float
    during: float
    after: float
    answered: int
    refused: int
    waited_s: float
    errors: int


class OverloadTest:
    """Measures, in each round, the baseline, the overload and the baseline again."""

    def __init__(self, max_pending: int) -> None:
        self._max_pending = max_pending
        self._baseline_users = min(_BASELINE_USERS, max_pending)
        self._before, self._after = Level(self._baseline_users), Level(self._baseline_users)
        self._overload = Level(max(max_pending + 1, min(_OVERLOAD_FACTOR * max_pending, _MAX_USERS)))

    @property
    def levels(self) -> tuple[Level, Level, Level]:
        """The levels to measure in each round, in this order."""
        return self._before, self._overload, self._after

    def summarize(self) -> OverloadResult:
        """The result of all rounds measured."""
        before, during, after = (
            statistics.median(sample.result.rate for sample in level.samples) for level in self.levels
        )
        results = [sample.result for sample in self._overload.samples]
        return OverloadResult(
            self._overload.users,
            self._max_pending,
            self._baseline_users,
            before,
            during,
            after,
            sum(len(result.latencies_us) for result in results),
            sum(result.refused for result in results),
            sum(result.waited_us for result in results) / 1e6,
            sum(sum(result.errors.values()) for result in results),
        )
