"""How much a server lets in: a number of requests, and the bytes all of them hold together."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

HELD_BYTES = 2 << 30


class Busy(Exception):
    """There is no room now; later there will be."""


class Closing(Exception):
    """The process was asked to stop: who is inside is finished with, nobody is let in."""


class Place:
    """One request's place inside; threads may use it."""

    def __init__(self, room: "Room") -> None:
        self._room = room
        self.held = 0

    def hold(self, count: int) -> None:
        """Count more bytes to this request. Raises Busy if others hold too many already."""
        self._room.take(count, self.held)
        self.held += count


class Room:
    """Counts who is inside. A single request is never too large for an empty room: its size has its own limit."""

    def __init__(self, requests: int, held_bytes: int = HELD_BYTES) -> None:
        self.closing = False
        self._requests = requests
        self._bytes = held_bytes
        self._inside = 0
        self._held = 0
        self._lock = threading.Lock()

    @contextmanager
    def enter(self) -> Iterator[Place]:
        """A place until the end of the block. Raises Busy when all are taken, Closing after `closing` is set."""
        if self.closing:
            raise Closing("This server is shutting down; ask again later.")
        with self._lock:
            if self._inside >= self._requests:
                raise Busy(f"{self._inside} requests are waiting already; ask again later.")
            self._inside += 1
        place = Place(self)
        try:
            yield place
        finally:
            with self._lock:
                self._inside -= 1
                self._held -= place.held

    def take(self, count: int, own: int) -> None:
        """See Place.hold."""
        with self._lock:
            others = self._held - own
            if others and self._held + count > self._bytes:
                raise Busy(f"Waiting requests hold {others} bytes already; ask again later.")
            self._held += count
