"""The reachability of the tail: probes of an unreachable tail, at growing intervals."""

import time

from hybrid_batch.data.errors import HybridBatchError, TailUnreachable
from hybrid_batch.inference.tails import Tail

_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.5, 4.0


class Probe:
    """Probes the tail during one outage: at once, then after pauses that double up to four seconds."""

    def __init__(self, tail: Tail) -> None:
        self._tail = tail
        self._pause_s, self._next_s = _FIRST_PAUSE_S, time.monotonic()

    def is_back(self, cut_id: str) -> bool:
        """Whether a probe is due and the tail responds, ready for the cut. Raises BundleMismatch, TailRefused."""
        if time.monotonic() < self._next_s:
            return False
        try:
            self._tail.check(cut_id)
        except TailUnreachable:
            self._next_s = time.monotonic() + self._pause_s
            self._pause_s = min(2 * self._pause_s, _MAX_PAUSE_S)
            return False
        return True


class TailProber:
    """Whether the tail is usable. After a failure it is not: an unreachable tail is probed until it responds, any other
    failure is final. Not thread-safe, but other threads may read `is_usable` during a probe."""

    def __init__(self, tail: Tail) -> None:
        self._tail = tail
        self._probe: Probe | None = None
        self._is_usable = True

    @property
    def is_usable(self) -> bool:
        """Whether batches may be sent."""
        return self._is_usable

    @property
    def is_probing(self) -> bool:
        """Whether the tail may become usable again."""
        return self._probe is not None

    def on_failure(self, error: Exception) -> None:
        """Stop using the tail."""
        self._is_usable = False
        self._probe = Probe(self._tail) if isinstance(error, TailUnreachable) else None

    def is_back(self, cut_id: str) -> bool:
        """Whether an unreachable tail responds again. Raises BundleMismatch and TailRefused, after which the tail is no
        longer probed."""
        try:
            return self._probe is not None and self._probe.is_back(cut_id)
        except HybridBatchError:
            self._probe = None
            raise

    def resume(self) -> None:
        """Use the tail again."""
        self._is_usable = True
