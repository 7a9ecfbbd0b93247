"""One HTTP/1.1 connection: uvicorn's protocol with deadlines, and with an answer to everything that can be answered."""

import asyncio
import hashlib
import json
import sys
from collections.abc import Callable
from functools import cached_property
from http import HTTPStatus
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.utils import is_ssl

from hybrid_batch.inference.serving.http.connections.bounded_parser import BoundedParser
from hybrid_batch.inference.serving.http.connections.connection_limits import MAX_HEADER_BYTES
from hybrid_batch.inference.serving.http.connections.connection_table import ConnectionTable, Spare
from hybrid_batch.inference.serving.http.connections.half_closed import PeerState, peer_state
from hybrid_batch.inference.serving.http.connections.peers import peer_of_socket
from hybrid_batch.inference.serving.http.connections.write_deadline import WriteDeadline
from hybrid_batch.inference.serving.monitoring.metric_layout import Refusal

CONNECTION = "hybrid_batch.connection"  # in the ASGI scope
_LINGER_S, _LINGER_BYTES = 2.0, 16 << 20
_PROBE_AFTER_S = 0.05
_FRESH_S = 0.1  # accepted, and perhaps its request was not read yet


class HttpConnection(H11Protocol):
    """Registers itself in the ConnectionTable of its event loop. The ASGI scope of a request contains it; `on_lost` is
    called if the connection is lost before that request is answered.

    A client that closes its direction and waits for the reply gets it. A client that is gone cannot be told from it
    until something is sent, so HTTP/1.1 clients are sent a 102, which each must accept (RFC 9110, 15.2). HTTP/1.0 has
    no such reply: a half-closed connection is refused."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - those of H11Protocol
        super().__init__(*arguments, **options)
        self.conn = BoundedParser()
        self.table: ConnectionTable = self.loop.connections  # type: ignore[attr-defined]
        self.peer = ""
        self.on_lost: Callable[[], None] | None = None
        self._header_since: float | None = None  # None while no part of a header is awaited
        self._since = self._moved_at = self.loop.time()  # of the present state; of the last bytes received
        self._discarded = 0
        self._is_new, self._lingers, self._half_closed, self._probed = True, False, False, False
        self._writes: WriteDeadline

    @property
    def unread_bytes(self) -> int:
        """See TrackedConnection."""
        return self.transport.get_write_buffer_size()

    @cached_property
    def certificate(self) -> str | None:
        """The name of the client by its certificate, which an accepted authority signed; None if it showed none."""
        tls = self.transport.get_extra_info("ssl_object")
        encoded = tls.getpeercert(binary_form=True) if tls is not None else None
        return hashlib.sha256(encoded).hexdigest()[:16] if encoded else None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio.Protocol."""
        super().connection_made(transport)
        self.peer = peer_of_socket(transport.get_extra_info("peername"))
        self._writes = WriteDeadline(transport, self.table.limits)
        self._since = self._header_since = self.loop.time()
        self.table.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._lose_request()
        self.table.discard(self)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._moved_at = now = self.loop.time()
        if self._lingers:
            self._discarded += len(data)
            if self._discarded > _LINGER_BYTES:
                self.transport.abort()
            return
        if self.conn.their_state is h11.IDLE:
            if self._header_since is None:
                self._header_since = now
            if len(data) > MAX_HEADER_BYTES:  # h11 does not limit the size of a header that arrives at once
                super().data_received(data[:MAX_HEADER_BYTES])
                data = data[MAX_HEADER_BYTES:]
                if self._lingers or self.transport.is_closing():
                    return
        elif self.cycle is not None and self.cycle.response_complete:
            self._discarded += len(data)
        super().data_received(data)

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Keep the connection for the reply to a complete request; refuse an incomplete request."""
        self._half_closed = True
        if self._lingers or is_ssl(self.transport):
            return False
        waiting = self.cycle is not None and not self.cycle.response_complete
        if waiting and self.conn.their_state is not h11.SEND_BODY:
            self._probe()
            return not self.transport.is_closing()
        self._refuse_incomplete()
        return False

    def handle_events(self) -> None:
        """Handle what was received; note the start of a request."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._is_new, self._header_since = False, None
            self._since, self._discarded = self.loop.time(), 0
            cast("dict[str, Any]", self.scope)[CONNECTION] = self  # the application runs later

    def on_response_complete(self) -> None:
        """See H11Protocol."""
        self.on_lost = None
        self._since = self.loop.time()
        super().on_response_complete()
        if self.transport.is_closing() or not self.cycle.response_complete:
            return
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._header_since = self._since
        if self._half_closed:
            self._refuse_incomplete()
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Refuse a request that h11 refuses, with its status and reason."""
        error = sys.exception()
        status = error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else HTTPStatus.BAD_REQUEST
        self._refuse(HTTPStatus(status), f"{msg.rstrip('.')}: {error}." if error else msg)

    def shutdown(self) -> None:
        """See H11Protocol."""
        if self._lingers or self.conn.our_state is h11.ERROR:
            self.transport.close()
            return
        super().shutdown()

    def spare(self, now: float) -> tuple[Spare, float] | None:
        """See TrackedConnection."""
        stalled_since = now - self.table.limits.stall_s
        if self._lingers or self._is_discarding():
            return Spare.DISCARDING, self._since
        if self._writes.moved_at is not None:
            return (Spare.REPLY_UNREAD, self._writes.moved_at) if self._writes.moved_at < stalled_since else None
        if self._header_since is not None:
            is_fresh = self._header_since > now - _FRESH_S
            return None if is_fresh else (Spare.NO_REQUEST, self._header_since)
        if self.cycle is None or self.cycle.response_complete:
            return Spare.IDLE, self._since
        if self.conn.their_state is h11.SEND_BODY and not self.flow.read_paused and self._moved_at < stalled_since:
            return Spare.BODY_STALLED, self._moved_at
        return None

    def check(self, now: float) -> None:
        """See TrackedConnection."""
        limits = self.table.limits
        if self._writes.is_over(now):
            self.table.refuse(Refusal.TIMEOUT)
            self.evict()
        elif self._lingers:
            if now - self._since > _LINGER_S:
                self.transport.abort()
        elif self._header_since is not None:
            if now - self._header_since > limits.header_s:
                self._refuse_late_header()
        elif self._is_discarding():
            if now - self._since > limits.transfer_s(self._discarded):
                self.transport.abort()
        elif self._half_closed or self.flow.read_paused:
            self._check_peer()

    def evict(self) -> None:
        """See TrackedConnection."""
        self._lose_request()
        self.transport.abort()

    def _is_discarding(self) -> bool:
        """Whether the rest of a body that is answered already is being received."""
        return self.cycle is not None and self.cycle.response_complete and self.conn.their_state is h11.SEND_BODY

    def _lose_request(self) -> None:
        if self.on_lost is not None:
            self.on_lost()
            self.on_lost = None

    def _refuse_late_header(self) -> None:
        self.table.refuse(Refusal.TIMEOUT)
        if self._is_new and not self.conn.trailing_data[0]:
            self.transport.abort()  # nothing was requested
            return
        self._refuse(
            HTTPStatus.REQUEST_TIMEOUT,
            f"The header did not arrive within {self.table.limits.header_s:g} s; send the request again.",
            counted=True,
        )

    def _refuse_incomplete(self) -> None:
        """Refuse a request in whose middle the client has closed its direction."""
        if self.conn.their_state is h11.SEND_BODY or self.conn.trailing_data[0]:
            part = "body" if self.conn.their_state is h11.SEND_BODY else "header"
            self._refuse(HTTPStatus.BAD_REQUEST, f"The connection was closed in the middle of the {part}.")

    def _refuse(self, status: HTTPStatus, sentence: str, *, counted: bool = False) -> None:
        """Answer what is no request. The rest of what the client sends is dropped for a moment: closing at once would
        reset the connection, and the client would lose the answer."""
        if not counted:
            self.table.refuse(Refusal.MALFORMED)
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            content = json.dumps({"error": sentence}).encode()
            headers = [
                *self.server_state.default_headers,
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(content)),
                (b"connection", b"close"),
            ]
            reason = status.phrase.encode()
            response = h11.Response(status_code=status, headers=headers, reason=reason)
            for event in (response, h11.Data(data=content), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._lose_request()
        self._linger()

    def _linger(self) -> None:
        if self._half_closed or not self.transport.can_write_eof():
            self.transport.close()
            return
        self._lingers, self._since, self._discarded = True, self.loop.time(), 0
        self._unset_keepalive_if_required()
        self.flow.resume_reading()
        self.transport.write_eof()

    def _probe(self) -> None:
        """Send something to a client that has closed its direction: if it is gone, its system resets the connection."""
        if self._probed or self.cycle.response_started:
            return
        self._probed = True
        if self.conn.their_http_version != b"1.1":
            self._refuse(HTTPStatus.BAD_REQUEST, "A half-closed connection is served with HTTP/1.1 only.")
            return
        probe = h11.InformationalResponse(status_code=HTTPStatus.PROCESSING, headers=[], reason=b"Processing")
        self.transport.write(self.conn.send(probe) or b"")
        self.loop.call_later(_PROBE_AFTER_S, self._check_peer)

    def _check_peer(self) -> None:
        """Close the connection if its client is gone: nothing else notices while nothing is read from it."""
        if self.transport.is_closing() or self.cycle is None or self.cycle.response_complete:
            return
        state = peer_state(self.transport)
        if state is PeerState.GONE:
            self.evict()
        elif state is PeerState.HALF_CLOSED:
            self._half_closed = True
            self._probe()
