"""What each client uses of a server: requests, bytes, concurrency."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil

from hybrid_batch.inference.serving.http.access.access_settings import ClientLimits
from hybrid_batch.inference.serving.monitoring.metric_layout import Refusal
from hybrid_batch.inference.serving.replies import Overloaded

_MAX_CLIENTS = 10_000


class _TokenBucket:
    """Allows `rate` units a second on average and one second's worth at once. A debt delays what comes next."""

    def __init__(self, rate: float, now: float) -> None:
        self._rate, self._most = rate, max(rate, 1.0)
        self._left, self._at = self._most, now

    def wait_s(self, now: float) -> float:
        """Seconds until the next unit is allowed."""
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        return 0.0 if self._left > 0 else max(1e-3, -self._left / self._rate)

    def take(self, units: float) -> None:
        self._left -= units


class _Usage:
    def __init__(self, limits: ClientLimits, now: float) -> None:
        self.requests = _TokenBucket(limits.requests_per_s, now) if limits.requests_per_s else None
        self.bytes = _TokenBucket(limits.bytes_per_s, now) if limits.bytes_per_s else None
        self.running = 0


class ClientMeter:
    """Counts what each client uses. Used on one event loop only."""

    def __init__(self, limits: ClientLimits, concurrent: int | None, now: Callable[[], float]) -> None:
        self._limits, self._concurrent, self._now = limits, concurrent, now
        self._clients: OrderedDict[str, _Usage] = OrderedDict()

    @contextmanager
    def use(self, client: str, *, is_identified: bool) -> Iterator[Callable[[int], None]]:
        """Count one request of a client until the end of the block; the result is to be called with the sizes of the
        pieces of its body. Raises Overloaded."""
        limits = self._limits
        concurrent = limits.concurrent or (self._concurrent if is_identified else None)
        if not (limits.requests_per_s or limits.bytes_per_s or concurrent):
            yield _uncounted
            return
        usage = self._find(client)
        self._check(usage, concurrent)
        if usage.requests is not None:
            usage.requests.take(1)
        usage.running += 1
        try:
            yield usage.bytes.take if usage.bytes is not None else _uncounted
        finally:
            usage.running -= 1

    def _check(self, usage: _Usage, concurrent: int | None) -> None:
        now = self._now()
        if concurrent and usage.running >= concurrent:
            raise Overloaded(
                f"{usage.running} requests of this client are in progress; the limit is {concurrent}.", Refusal.RATE
            )
        if usage.requests is not None and (wait_s := usage.requests.wait_s(now)):
            rate = f"{self._limits.requests_per_s:g} requests a second"
            raise Overloaded(f"This client may send {rate}; retry later.", Refusal.RATE, ceil(wait_s))
        if usage.bytes is not None and (wait_s := usage.bytes.wait_s(now)):
            rate = f"{self._limits.bytes_per_s:g} bytes a second"
            raise Overloaded(f"This client may send {rate}; retry later.", Refusal.RATE, ceil(wait_s))

    def _find(self, client: str) -> _Usage:
        usage = self._clients.get(client)
        if usage is None:
            usage = self._clients[client] = _Usage(self._limits, self._now())
            if len(self._clients) > _MAX_CLIENTS:
                self._forget_one()
        self._clients.move_to_end(client)
        return usage

    def _forget_one(self) -> None:
        """Forget the client that has been silent for the longest time and has no request in progress."""
        for client, usage in self._clients.items():
            if not usage.running:
                del self._clients[client]
                return


def _uncounted(size: int) -> None:
    """A client without a limit of bytes."""
