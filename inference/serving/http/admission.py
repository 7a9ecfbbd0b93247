"""Admission control: limits the pending requests of a server and the bytes they hold."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hybrid_batch.inference.serving.monitoring.metric_layout import Refusal
from hybrid_batch.inference.serving.replies import ClientGone, Overloaded, ShuttingDown

MAX_RESERVED_BYTES = 256 << 20


class Permit:
    """Admits one request. Threads may use it. `cancelled` is set once the client's connection is lost."""

    def __init__(self, controller: "AdmissionController") -> None:
        self._controller = controller
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
        """Reserve more bytes for this request. Raises Overloaded if other requests have reserved too many."""
        self._controller.reserve(count, self.reserved_bytes)
        self.reserved_bytes += count


class AdmissionController:
    """Counts pending requests, whose bodies are complete, and the bytes they hold. A request that is alone may reserve
    any number of bytes: its size has a limit of its own. `shutting_down` makes it reject new requests."""

    def __init__(
        self,
        requests: int,
        reserved_bytes: int = MAX_RESERVED_BYTES,
        observe: Callable[[int, int], None] = lambda _requests, _bytes: None,
    ) -> None:
        self.shutting_down = False
        self._observe = observe
        self._max_requests = requests
        self._max_bytes = reserved_bytes
        self._requests = 0
        self._bytes = 0
        self._lock = threading.Lock()

    def check_open(self) -> None:
        """Raises what `admit` would raise now, before the body of a request is read."""
        if self.shutting_down:
            raise ShuttingDown("This server is shutting down; retry later.")
        if self._requests >= self._max_requests:
            raise self._too_many()

    @property
    def used_share(self) -> float:
        """The share of the limit that is used most."""
        return max(self._requests / self._max_requests, self._bytes / self._max_bytes)

    @contextmanager
    def admit(self, *, has_begun: bool = False) -> Iterator[Permit]:
        """A permit until the end of the block. Raises Overloaded if too many requests are pending, ShuttingDown after
        `shutting_down` was set, unless the request had begun before."""
        with self._lock:
            if not has_begun:
                self.check_open()
            elif self._requests >= self._max_requests:
                raise self._too_many()
            self._requests += 1
            self._observe(self._requests, self._bytes)
        permit = Permit(self)
        try:
            yield permit
        finally:
            with self._lock:
                self._requests -= 1
                self._bytes -= permit.reserved_bytes
                self._observe(self._requests, self._bytes)

    def reserve(self, count: int, own: int) -> None:
        """Reserve more bytes for a request that has reserved `own`; see Permit.reserve."""
        with self._lock:
            others = self._bytes - own
            if others and self._bytes + count > self._max_bytes:
                raise Overloaded(f"Pending requests hold {others} bytes already; retry later.", Refusal.BYTES)
            self._bytes += count
            self._observe(self._requests, self._bytes)

    def _too_many(self) -> Overloaded:
        return Overloaded(f"{self._requests} requests are pending already; retry later.")
