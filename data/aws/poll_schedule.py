"""Polling of long operations: intervals that grow, and a timeout."""

from collections.abc import Iterator
from dataclasses import dataclass

from hybrid_batch.data.backoff import Backoff

_FACTOR = 1.4
_MAX_S = 30.0


@dataclass(frozen=True, slots=True)
class PollSchedule:
    """`poll_s` is the first interval, `timeout_s` the limit of the whole wait, both in seconds."""

    poll_s: float
    timeout_s: float

    def pauses(self) -> Iterator[float]:
        """The seconds to wait before each poll, without end."""
        return Backoff(self.poll_s, max(_MAX_S, self.poll_s), _FACTOR).pauses()
