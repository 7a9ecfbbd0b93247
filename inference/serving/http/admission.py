"""Admission control: limits the pending requests of a server and the bytes they hold."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from hybrid_batch.inference.serving.replies import Overloaded, ShuttingDown

MAX_RESERVED_BYTES = 2 << 30


class Permit:
    """Admits one request. Threads may use it."""

    def __init__(self, controller: "AdmissionController") -> None:
        self._controller = controller
        self.reserved_bytes = 0

    def reserve(self, count: int) -> None:
        """Reserve more bytes for this request. Raises Overloaded if other requests have reserved too many."""
        self._controller.reserve(count, self.reserved_bytes)
        self.reserved_bytes += count


class AdmissionController:
    """Counts pending requests and the bytes they hold. A request that is alone may reserve any number of bytes: its
    size has a limit of its own. `shutting_down` makes it reject new requests."""

    def __init__(self, requests: int, reserved_bytes: int = MAX_RESERVED_BYTES) -> None:
        self.shutting_down = False
        self._max_requests = requests
        self._max_bytes = reserved_bytes
        self._requests = 0
        self._bytes = 0
        self._lock = threading.Lock()

    @contextmanager
    def admit(self) -> Iterator[Permit]:
        """A permit until the end of the block. Raises Overloaded if too many requests are pending, ShuttingDown after
        `shutting_down` was set."""
        if self.shutting_down:
            raise ShuttingDown("This server is shutting down; retry later.")
        with self._lock:
            if self._requests >= self._max_requests:
                raise Overloaded(f"{self._requests} requests are pending already; retry later.")
            self._requests += 1
        permit = Permit(self)
        try:
            yield permit
        finally:
            with self._lock:
                self._requests -= 1
                self._bytes -= permit.reserved_bytes

    def reserve(self, count: int, own: int) -> None:
        """Reserve more bytes for a request that has reserved `own`; see Permit.reserve."""
        with self._lock:
            others = self._bytes - own
            if others and self._bytes + count > self._max_bytes:
                raise Overloaded(f"Pending requests hold {others} bytes already; retry later.")
            self._bytes += count
