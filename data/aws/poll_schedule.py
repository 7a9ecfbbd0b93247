"""Polling of long operations: intervals that grow, and a timeout."""

from collections.abc import Iterator
from dataclasses import dataclass

_SLOWER = 1.4
_MOST_S = 30.0


@dataclass(frozen=True, slots=True)
class PollSchedule:
    """`poll_s` is the first interval, `timeout_s` the limit of the whole wait, both in seconds."""

    poll_s: float
    timeout_s: float

    def pauses(self) -> Iterator[float]:
        """Yield the seconds to wait before each poll, without end."""
        pause = self.poll_s
        while True:
            yield pause
            pause = min(pause * _SLOWER, max(_MOST_S, self.poll_s))
