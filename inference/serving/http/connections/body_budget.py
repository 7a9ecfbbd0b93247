"""The memory of request bodies that are being received."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hybrid_batch.inference.serving.monitoring.metric_layout import Refusal
from hybrid_batch.inference.serving.replies import Overloaded

_STALLED_BURDEN_S = 8.0  # a body that takes longer than this to arrive again, at its present rate


class ReceivedBody:
    """A body that is being received; `pieces` hold `size` bytes. `is_evicted` once another body needed the memory."""

    def __init__(self, now: float) -> None:
        self.pieces: list[bytes] = []
        self.size = 0
        self.is_evicted = False
        self.evict: Callable[[], None] = lambda: None
        self._window_start, self._window_bytes, self._rate_bps = now, 0, 0.0

    def add(self, piece: bytes, now: float) -> None:
        """Append a piece."""
        self._roll(now)
        self._window_bytes += len(piece)
        self.size += len(piece)
        self.pieces.append(piece)

    def burden(self, now: float) -> float:
        """Bytes held for each byte that arrived in the last second: the body with the most is given up first."""
        self._roll(now)
        return self.size / (1 + max(self._rate_bps, self._window_bytes))

    def _roll(self, now: float) -> None:
        if now - self._window_start >= 1:
            self._rate_bps = self._window_bytes / (now - self._window_start)
            self._window_start, self._window_bytes = now, 0


class BodyBudget:
    """Limits the memory of all bodies that are being received. Used on one event loop only. A body that is alone may
    have any size: its size has a limit of its own. When the memory is used up, the body that has stalled with the most
    bytes is given up."""

    def __init__(self, limit: int, now: Callable[[], float]) -> None:
        self._limit, self._now = limit, now
        self._bodies: set[ReceivedBody] = set()
        self.used = 0

    @contextmanager
    def receive(self) -> Iterator[ReceivedBody]:
        """A body whose memory is counted until the end of the block."""
        body = ReceivedBody(self._now())
        self._bodies.add(body)
        try:
            yield body
        finally:
            self._forget(body)

    def add(self, body: ReceivedBody, piece: bytes) -> None:
        """Append a piece to a body. Raises Overloaded if there is no memory for it, TimeoutError if it was given up."""
        if body.is_evicted:
            raise TimeoutError
        while self.used + len(piece) > self._limit and self.used > body.size:
            if not self._give_up_another(body):
                raise Overloaded(f"Requests being received hold {self.used} bytes already; retry later.", Refusal.BYTES)
        body.add(piece, self._now())
        self.used += len(piece)

    def _give_up_another(self, body: ReceivedBody) -> bool:
        now = self._now()
        others = [one for one in self._bodies if one is not body and one.size]
        stalled = max(others, key=lambda one: one.burden(now), default=None)
        if stalled is None or stalled.burden(now) < _STALLED_BURDEN_S:
            return False
        stalled.is_evicted = True
        stalled.evict()
        self._forget(stalled)
        return True

    def _forget(self, body: ReceivedBody) -> None:
        if body in self._bodies:
            self._bodies.discard(body)
            self.used -= body.size
            body.pieces.clear()
