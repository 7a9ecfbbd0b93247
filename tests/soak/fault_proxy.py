"""An HTTP proxy on 127.0.0.1 that injects faults between a client and a server, by a seeded generator."""

import http.client
import socket
import socketserver
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

STALL_S = 0.4
_REFUSALS = {"503": (503, "SlowDown"), "429": (429, "TooManyRequests"), "500": (500, "InternalError")}
_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}
WRITES = ("PUT", "POST", "DELETE")


@dataclass
class Faults:
    """What to inject: `rates` has the probability of each kind for a request. `hooks` are kinds of a test's own, called
    after the request has reached the server; its reply is lost. Nothing is injected beyond `limit` faults."""

    chance: Random
    rates: Mapping[str, float]
    limit: int
    hooks: Mapping[str, Callable[[], None]] = field(default_factory=dict)
    injected: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def draw(self, method: str) -> str:
        """Return the kind of fault for a request, empty for none."""
        with self.lock:
            if self.injected.total() >= self.limit:
                return ""
            kind = self.chance.choices(("", *self.rates), (1 - sum(self.rates.values()), *self.rates.values()))[0]
            if kind.endswith("after the write") and method not in WRITES:
                kind = "500"
            if kind:
                self.injected[kind] += 1
            return kind


@dataclass(frozen=True)
class _Exchange:
    """A request as it arrived."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes


class FaultProxy(socketserver.ThreadingTCPServer):
    """Forwards each request to `upstream` (host:port) over a new connection."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, upstream: str, faults: Faults) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream, self.faults = upstream, faults
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed leaves broken connections; they are part of the test."""


class _Handler(socketserver.StreamRequestHandler):
    server: FaultProxy
    disable_nagle_algorithm = True

    def handle(self) -> None:
        with suppress(OSError):
            while (exchange := self._read()) is not None:
                if not self._answer(exchange, self.server.faults.draw(exchange.method)):
                    return

    def _read(self) -> _Exchange | None:
        line = self.rfile.readline()
        if not line.strip():
            return None
        method, path, _ = line.decode("latin-1").split(" ", 2)
        headers: list[tuple[str, str]] = []
        while (header := self.rfile.readline().decode("latin-1").rstrip("\r\n")) != "":
            name, _, value = header.partition(":")
            headers.append((name, value.strip()))
        found = {name.lower(): value for name, value in headers}
        if found.get("expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        size = int(found.get("content-length", 0))
        body = self.rfile.read(size)
        if len(body) < size:
            return None
        return _Exchange(method, path, [pair for pair in headers if pair[0].lower() != "expect"], body)

    def _answer(self, exchange: _Exchange, kind: str) -> bool:
        """Answer a request. Returns whether the connection stays open."""
        if kind in _REFUSALS:
            return self._refuse(*_REFUSALS[kind])
        if kind == "reset":
            return self._reset()
        if kind == "stall":
            time.sleep(STALL_S)
        try:
            status, headers, body = self._forward(exchange)
        except (OSError, http.client.HTTPException):  # the server was killed
            return self._reset()
        if kind == "500 after the write":
            return self._refuse(500, "InternalError")
        if hook := self.server.faults.hooks.get(kind):
            hook()
        if hook or kind == "reset after the write":
            return self._reset()
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers if name.lower() not in _HOP)
        size = next((value for name, value in headers if name.lower() == "content-length"), str(len(body)))
        head = f"HTTP/1.1 {status} x\r\n{lines}Content-Length: {size}\r\n\r\n".encode("latin-1")
        return self._reply(head, body, kind)

    def _reply(self, head: bytes, body: bytes, kind: str) -> bool:
        if kind == "truncated":
            self.wfile.write(head + body[: len(body) // 2] if body else head[:-4])
            return False
        if kind == "stalled body":
            self.wfile.write((head + body)[:-1])
            time.sleep(STALL_S)
            self.wfile.write((head + body)[-1:])
            return True
        self.wfile.write(head + body)
        return True

    def _forward(self, exchange: _Exchange) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self.server.upstream, timeout=60)
        try:
            connection.putrequest(exchange.method, exchange.path, skip_host=True, skip_accept_encoding=True)
            for name, value in exchange.headers:
                if name.lower() != "connection":
                    connection.putheader(name, value)
            connection.endheaders(exchange.body or None)
            reply = connection.getresponse()
            return reply.status, reply.getheaders(), reply.read()
        finally:
            connection.close()

    def _refuse(self, status: int, code: str) -> bool:
        content = f"<Error><Code>{code}</Code><Message>injected</Message></Error>".encode()
        head = f"HTTP/1.1 {status} x\r\nContent-Type: application/xml\r\nContent-Length: {len(content)}\r\n\r\n"
        self.wfile.write(head.encode() + content)
        return True

    def _reset(self) -> bool:
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.request.close()
        return False
