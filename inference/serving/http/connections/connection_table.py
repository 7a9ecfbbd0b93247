"""The open connections of one process: counts for each peer, deadlines, and which connection closes first."""

from collections import Counter
from collections.abc import Callable
from enum import IntEnum
from typing import Protocol

from hybrid_batch.inference.serving.http.connections.connection_limits import ConnectionLimits
from hybrid_batch.inference.serving.http.connections.peers import is_loopback
from hybrid_batch.inference.serving.monitoring.metric_layout import Refusal
from hybrid_batch.inference.serving.monitoring.metrics import ServerMetrics

_EVICTED_SHARE = 32  # a scan for room closes up to this fraction, so that its cost is spread over as many connections


class Spare(IntEnum):
    """Why a connection can be spared, in the order in which connections are closed to make room."""

    DISCARDING = 0
    IDLE = 1
    NO_REQUEST = 2
    REPLY_UNREAD = 3
    BODY_STALLED = 4


class TrackedConnection(Protocol):
    """A connection in the table."""

    peer: str

    @property
    def unread_bytes(self) -> int:
        """Bytes of replies that the client has not read."""

    def spare(self, now: float) -> tuple[Spare, float] | None:
        """Why the connection can be spared and since when, or None if it cannot."""

    def check(self, now: float) -> None:
        """Close the connection if a deadline is over."""

    def evict(self) -> None:
        """Close the connection at once."""


class ConnectionTable:
    """The open connections of one event loop. `on_room` is called when one closes."""

    def __init__(self, limits: ConnectionLimits, capacity: int) -> None:
        self.limits = limits
        self.capacity = capacity
        self.metrics: ServerMetrics | None = None
        self.on_room: Callable[[], None] = lambda: None
        self._connections: set[TrackedConnection] = set()
        self._peers: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._connections)

    @property
    def is_full(self) -> bool:
        """Whether no further connection may be accepted."""
        return len(self._connections) >= self.capacity

    def add(self, connection: TrackedConnection) -> None:
        """Count a connection."""
        self._connections.add(connection)
        self._peers[connection.peer] += 1
        if self.metrics is not None:
            self.metrics.add_connections(1)

    def discard(self, connection: TrackedConnection) -> None:
        """Forget a connection that is closed."""
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        self._peers[connection.peer] -= 1
        if not self._peers[connection.peer]:
            del self._peers[connection.peer]
        if self.metrics is not None:
            self.metrics.add_connections(-1)
        self.on_room()

    def may_add(self, peer: str, now: float) -> bool:
        """Whether one more connection of this peer is allowed, after closing one of its own if necessary."""
        allowed = self._allowed(peer)
        if self._peers[peer] < allowed:
            return True
        self._close_spares([one for one in self._connections if one.peer == peer], now, 1 + allowed // _EVICTED_SHARE)
        return self._peers[peer] < allowed

    def make_room(self, now: float) -> bool:
        """Close connections that can be spared, those of the peer with the most connections first. Returns whether
        there is room."""
        self._close_spares(list(self._connections), now, 1 + self.capacity // _EVICTED_SHARE)
        return not self.is_full

    def check_deadlines(self, now: float) -> None:
        """Close the connections that have missed a deadline."""
        for connection in tuple(self._connections):
            connection.check(now)
        unread = sorted(self._connections, key=lambda connection: connection.unread_bytes, reverse=True)
        excess = sum(connection.unread_bytes for connection in unread) - self.limits.reply_bytes
        for connection in unread:
            if excess <= 0 or connection is unread[-1]:
                return
            excess -= connection.unread_bytes
            self.refuse(Refusal.BYTES)
            connection.evict()

    def refuse(self, reason: Refusal) -> None:
        """Count a refusal that has no reply of the application."""
        if self.metrics is not None:
            self.metrics.refuse(reason)

    def _allowed(self, peer: str) -> int:
        if self.limits.for_peer is not None:
            return self.limits.for_peer
        return self.capacity if is_loopback(peer) else max(1, self.capacity // 2)

    def _close_spares(self, connections: list[TrackedConnection], now: float, count: int) -> None:
        spares = [(found, one) for one in connections if (found := one.spare(now)) is not None]
        spares.sort(key=lambda spare: (spare[0][0], -self._peers[spare[1].peer], spare[0][1]))
        for _, connection in spares[:count]:
            self.refuse(Refusal.CONNECTIONS)
            connection.evict()
            self.discard(connection)
