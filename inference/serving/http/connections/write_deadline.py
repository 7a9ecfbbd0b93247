"""The deadline of what a client does not read."""

import asyncio

from hybrid_batch.inference.serving.http.connections.connection_limits import ConnectionLimits


class WriteDeadline:
    """Watches the bytes that wait to be sent on a connection. `moved_at` is the time at which they last became fewer,
    None while none wait."""

    def __init__(self, transport: asyncio.WriteTransport, limits: ConnectionLimits) -> None:
        self._transport, self._limits = transport, limits
        self.moved_at: float | None = None
        self._since, self._most, self._last = 0.0, 0, 0

    def is_over(self, now: float) -> bool:
        """Whether the client has read too little for too long. Called at every tick."""
        waiting = self._transport.get_write_buffer_size()
        if not waiting:
            self.moved_at = None
            return False
        if self.moved_at is None or waiting > self._last:
            self.moved_at, self._since, self._most = now, now, waiting
        elif waiting < self._last:
            self.moved_at = now
        self._last = waiting
        return now - self._since > self._limits.transfer_s(self._most - waiting)
