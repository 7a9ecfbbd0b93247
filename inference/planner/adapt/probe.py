"""Ask a tail that is away whether it is back, less and less often."""

import time

from hybrid_batch.data.errors import TailUnreachable
from hybrid_batch.inference.tails import Tail

_FIRST_S, _LONGEST_S = 0.5, 4.0


class Probe:
    """For one absence: first asked at once, then after pauses that double up to four seconds."""

    def __init__(self, tail: Tail) -> None:
        self._tail = tail
        self._pause_s, self._next = _FIRST_S, time.monotonic()

    def finds(self, cut_id: str) -> bool:
        """Whether it is time to ask and the tail answers, ready for the cut. Raises OtherBundle, TailRefused."""
        if time.monotonic() < self._next:
            return False
        try:
            self._tail.check(cut_id)
        except TailUnreachable:
            self._next = time.monotonic() + self._pause_s
            self._pause_s = min(2 * self._pause_s, _LONGEST_S)
            return False
        return True
