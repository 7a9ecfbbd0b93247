"""Waiting for what takes minutes elsewhere: polling that slows down, and a limit."""

from collections.abc import Iterator
from dataclasses import dataclass

_SLOWER = 1.4
_MOST_S = 30.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How often to ask, at first, and how long in all."""

    poll_s: float
    timeout_s: float

    def pauses(self) -> Iterator[float]:
        """Seconds to wait before each next question, without end."""
        pause = self.poll_s
        while True:
            yield pause
            pause = min(pause * _SLOWER, max(_MOST_S, self.poll_s))
