"""Admission control: limits the pending requests of a server and the bytes they hold."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hybrid_batch.inference.serving.monitoring.metric_layout import Refusal
from hybrid_batch.inference.serving.monitoring.saturation import Saturation
from hybrid_batch.inference.serving.replies import ClientGone, Overloaded, ShuttingDown

MAX_RESERVED_BYTES = 256 << 20
_SHARE_OF_FREE = 4  # times the bytes that stay free: the most that one client holds, so that others find some


class Permit:
    """Admits one request. Threads may use it. `cancelled` is set once the client's connection is lost."""

    def __init__(self, controller: "AdmissionController", client: object | None = None) -> None:
        self._controller = controller
        self.client = self if client is None else client
        self.reserved_bytes = 0
        self.cancelled = False

    def cancel(self) -> None:
        """Set `cancelled`."""
        self.cancelled = True

    def check(self) -> None:
        """Raises ClientGone if the client's connection is lost."""
        if self.cancelled:
            raise ClientGone("The connection of this request is lost.")

    def reserve(self, count: int) -> None:
        """Reserve more bytes for this request. Raises Overloaded if other requests have reserved too many, or if its
        client would hold more than _SHARE_OF_FREE times what stays free."""
        self._controller.reserve(count, self)
        self.reserved_bytes += count


class AdmissionController:
    """Counts pending requests, whose bodies are complete, and the bytes they hold. A request that is alone may reserve
    any number of bytes: its size has a limit of its own. `shutting_down` makes it reject new requests. `now` is a
    monotonic clock in seconds."""

    def __init__(
        self,
        requests: int,
        reserved_bytes: int = MAX_RESERVED_BYTES,
        observe: Callable[[int, int], None] = lambda _requests, _bytes: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.shutting_down = False
        self._observe = observe
        self._max_requests = requests
        self._max_bytes = reserved_bytes
        self._requests = 0
        self._bytes = 0
        self._held: Counter[object] = Counter()  # bytes by client
        self._saturation = Saturation(now)
        self._lock = threading.Lock()

    def check_open(self) -> None:
        """Raises what `admit` would raise now, before the body of a request is read."""
        if self.shutting_down:
            raise ShuttingDown("This server is shutting down; retry later.")
        if self._requests >= self._max_requests:
            raise self._too_many()

    @property
    def is_saturated(self) -> bool:
        """Whether the limits have been nearly used up for a while: see Saturation."""
        with self._lock:
            return self._saturation.update(self._used_share())

    @contextmanager
    def admit(self, *, has_begun: bool = False, client: object | None = None) -> Iterator[Permit]:
        """A permit until the end of the block. Requests of one `client` share its bytes; without one the request is a
        client of its own. Raises Overloaded if too many requests are pending, ShuttingDown after `shutting_down` was
        set, unless the request had begun before."""
        with self._lock:
            if not has_begun:
                self.check_open()
            elif self._requests >= self._max_requests:
                raise self._too_many()
            self._requests += 1
            self._changed()
        permit = Permit(self, client)
        try:
            yield permit
        finally:
            with self._lock:
                self._requests -= 1
                self._bytes -= permit.reserved_bytes
                self._held[permit.client] -= permit.reserved_bytes
                if self._held[permit.client] <= 0:
                    del self._held[permit.client]
                self._changed()

    def reserve(self, count: int, permit: Permit) -> None:
        """Reserve more bytes for a request; see Permit.reserve."""
        with self._lock:
            others = self._bytes - permit.reserved_bytes
            held, free = self._held[permit.client] + count, self._max_bytes - self._bytes - count
            if others and held > _SHARE_OF_FREE * free:
                raise Overloaded(f"Pending requests hold {others} bytes already; retry later.", Refusal.BYTES)
            self._bytes += count
            self._held[permit.client] = held
            self._changed()

    def _changed(self) -> None:
        self._saturation.update(self._used_share())
        self._observe(self._requests, self._bytes)

    def _used_share(self) -> float:
        """The share of the limit that is used most."""
        return max(self._requests / self._max_requests, self._bytes / self._max_bytes)

    def _too_many(self) -> Overloaded:
        return Overloaded(f"{self._requests} requests are pending already; retry later.")
