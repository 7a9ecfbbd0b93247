"""The event loop of a server process: accepts connections while there is room for them."""

import asyncio
import logging
import socket
import sys
from collections.abc import Callable
from contextlib import suppress

from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.data.terminal.escapes import write_line
from hybrid_batch.inference.serving.http.access.access_settings import TlsFiles
from hybrid_batch.inference.serving.http.access.tls import load_certificate, make_tls_context
from hybrid_batch.inference.serving.http.connections.connection_limits import ConnectionLimits, raise_descriptor_limit
from hybrid_batch.inference.serving.http.connections.connection_table import ConnectionTable, Spare
from hybrid_batch.inference.serving.http.connections.log_limit import limit_logs
from hybrid_batch.inference.serving.http.connections.peers import peer_of_socket
from hybrid_batch.inference.serving.monitoring.metric_layout import Refusal

_AT_ONCE = 64  # connections accepted before others are served
_RETRY_S = 0.1
_REFUSAL = (
    b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"  # unread
)
_logger = logging.getLogger("uvicorn.error")


class ServerLoop(asyncio.SelectorEventLoop):
    """An event loop with a ConnectionTable, whose servers accept no more connections than fit. asyncio's own accept
    until no descriptor is left, and then log a trace each second for each connection that waits."""

    def __init__(self, limits: ConnectionLimits, tls: TlsFiles | None = None) -> None:
        super().__init__()
        limit_logs()
        self._tls_files = tls
        self.tls = make_tls_context(tls) if tls is not None else None
        self.connections = ConnectionTable(limits, raise_descriptor_limit(limits.connections))

    def reload_certificate(self) -> None:
        """Read the certificate and its key again, for new connections; an unusable one is reported and not used."""
        if self.tls is None or self._tls_files is None:
            return
        try:
            load_certificate(self.tls, self._tls_files)
        except WrongUsage as error:
            write_line(sys.stderr, f"Warning: the certificate stays as it was: {error}")

    async def create_server(  # type: ignore[override]
        self, protocol_factory: Callable[[], asyncio.Protocol], *, sock: socket.socket, **_: object
    ) -> "Listener":
        """Accept connections to a socket."""
        return Listener(self, sock, protocol_factory)


class Listener:
    """Accepts connections to one socket; it closes like asyncio.Server."""

    def __init__(self, loop: ServerLoop, sock: socket.socket, factory: Callable[[], asyncio.Protocol]) -> None:
        self._loop, self._table, self._socket, self._factory = loop, loop.connections, sock, factory
        self._accepts = self._closed = False
        self._handshakes: set[asyncio.Task[None]] = set()
        self.sockets = (sock,)
        sock.setblocking(False)
        self._table.on_room = self._resume
        self._resume()
        self._tick()

    def close(self) -> None:
        """Stop accepting."""
        self._pause()
        self._closed = True

    async def wait_closed(self) -> None:
        """See asyncio.Server."""

    def _resume(self) -> None:
        if not self._accepts and not self._closed and not self._table.is_full:
            self._accepts = True
            self._loop.add_reader(self._socket.fileno(), self._accept)

    def _pause(self) -> None:
        if self._accepts:
            self._accepts = False
            self._loop.remove_reader(self._socket.fileno())

    def _tick(self) -> None:
        """Check deadlines; look for room, because connections stall with time."""
        now = self._loop.time()
        self._table.check_deadlines(now)
        if not self._accepts and not self._closed and (not self._table.is_full or self._table.make_room(now)):
            self._resume()
        if not self._closed or len(self._table):
            self._loop.call_later(self._table.limits.tick_s, self._tick)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            if self._table.is_full and not self._table.make_room(self._loop.time()):
                _logger.warning(
                    "All %d connections are in use; new ones wait. Serve with a greater --max-connections, and with as "
                    "many descriptors (ulimit -n).",
                    self._table.capacity,
                )
                self._pause()
                return
            try:
                connection, address = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no descriptor, no memory: accepting again at once would fail again
                _logger.warning("No connection can be accepted (%s); new ones wait.", error.strerror)
                self._table.make_room(self._loop.time())
                self._pause()
                self._loop.call_later(_RETRY_S, self._resume)
                return
            self._serve(connection, peer_of_socket(address))

    def _serve(self, connection: socket.socket, peer: str) -> None:
        connection.setblocking(False)
        if not self._table.may_add(peer, self._loop.time()):
            self._table.refuse(Refusal.CONNECTIONS)
            with connection, suppress(OSError):  # the client may have reset it already
                if self._loop.tls is None:
                    connection.send(_REFUSAL)
            return
        handshake = _Handshake(peer, self._loop.time())
        handshake.task = self._loop.create_task(self._connect(connection))
        self._table.add(handshake)
        self._handshakes.add(handshake.task)

        def done(task: asyncio.Task[None]) -> None:
            self._handshakes.discard(task)
            self._table.discard(handshake)

        handshake.task.add_done_callback(done)

    async def _connect(self, connection: socket.socket) -> None:
        timeout_s = self._table.limits.header_s if self._loop.tls is not None else None
        try:
            await self._loop.connect_accepted_socket(
                self._factory, connection, ssl=self._loop.tls, ssl_handshake_timeout=timeout_s
            )
        except (OSError, asyncio.CancelledError):  # ssl.SSLError is an OSError: the doing of the client
            self._table.refuse(Refusal.CONNECTIONS)
            connection.close()


class _Handshake:
    """A connection before its protocol exists."""

    task: asyncio.Task[None]
    unread_bytes = 0

    def __init__(self, peer: str, since: float) -> None:
        self.peer, self._since = peer, since

    def spare(self, now: float) -> tuple[Spare, float] | None:
        """See TrackedConnection."""
        return None if self._since > now - _RETRY_S else (Spare.NO_REQUEST, self._since)

    def check(self, now: float) -> None:
        """See TrackedConnection: asyncio limits the time of a handshake."""

    def evict(self) -> None:
        """See TrackedConnection."""
        self.task.cancel()
