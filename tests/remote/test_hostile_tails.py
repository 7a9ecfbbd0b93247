"""Tails that never finish a reply: the request ends at its time-out, or at a number of bytes."""

import contextlib
import socketserver
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from hybrid_batch.data.errors import InvalidFrame
from hybrid_batch.inference.protocol.transport import NoResponse, Request
from hybrid_batch.inference.tails.http import HttpTransport
from hybrid_batch.inference.tails.reply_bounds import MIN_REPLY_BYTES_PER_S
from hybrid_batch.inference.tails.settings import RetryPolicy, TailSettings

SETTINGS = TailSettings(retries=RetryPolicy(connect_timeout_s=5, response_timeout_s=0.3, attempts=1))
OK, CHUNKED = b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
PAUSE_S = 0.02
DRIPS = {
    "a status line": (b"", b"H"),
    "a header": (OK + b"A: ", b"a"),
    "headers": (OK, b"A: a\r\n"),
    "a body": (OK + b"Content-Length: 900\r\n\r\n", b"x"),
    "a body without a length": (OK + b"\r\n", b"x"),
    "the size of a chunk": (CHUNKED, b"0"),
    "a chunk": (CHUNKED + b"fff\r\n", b"x"),
}
FLOODS = {
    "interim responses": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "trailers": (CHUNKED + b"1\r\nx\r\n0\r\n", b"a: b\r\n"),
    "a chunk of negative size": (CHUNKED + b"-5\r\n", b"x"),
    "chunk extensions": (CHUNKED, b"1;" + b"e" * 60_000 + b"\r\nx\r\n"),
}


class EndlessTail(socketserver.ThreadingTCPServer):
    """Sends `head` after each request, then `piece` without end."""

    daemon_threads = True

    def __init__(self, head: bytes, piece: bytes, pause_s: float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.head, self.piece, self.pause_s = head, piece, pause_s
        self.over = threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.shutdown()
        self.server_close()


class _Handler(socketserver.BaseRequestHandler):
    server: EndlessTail

    def handle(self) -> None:
        self.request.recv(1 << 16)
        with contextlib.suppress(OSError):
            self.request.sendall(self.server.head)
            while not self.server.over.wait(self.server.pause_s):
                self.request.sendall(self.server.piece if self.server.pause_s else self.server.piece * 100)


@pytest.fixture
def endless() -> Iterator[Callable[[bytes, bytes, float], HttpTransport]]:
    """A function that starts a tail and returns a transport to it."""
    with contextlib.ExitStack() as servers:

        def start(head: bytes, piece: bytes, pause_s: float) -> HttpTransport:
            server = servers.enter_context(EndlessTail(head, piece, pause_s))
            transport = HttpTransport(f"http://127.0.0.1:{server.server_address[1]}", SETTINGS)
            servers.callback(transport.close)
            return transport

        yield start


def outcome(transport: HttpTransport) -> BaseException:
    """What a request raises; it fails the test instead of waiting for ever."""
    raised: list[BaseException] = []

    def send() -> None:
        try:
            transport.send(Request("GET", "/v2"), 1000)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    thread.join(30)
    assert raised, "the request neither ended nor failed in 30 s"
    return raised[0]


@pytest.mark.parametrize("name", DRIPS)
def test_a_reply_that_drips_ends_at_the_timeout(endless: Callable[..., HttpTransport], name: str):
    assert len(DRIPS[name][1]) / PAUSE_S < MIN_REPLY_BYTES_PER_S
    error = outcome(endless(*DRIPS[name], PAUSE_S))
    assert isinstance(error, NoResponse | InvalidFrame), repr(error)
    assert "timed out" in str(error)


@pytest.mark.parametrize("name", FLOODS)
def test_a_reply_without_end_ends_at_a_number_of_bytes(endless: Callable[..., HttpTransport], name: str):
    error = outcome(endless(*FLOODS[name], 0.0))
    assert isinstance(error, InvalidFrame | NoResponse), repr(error)
    assert "timed out" not in str(error)


def test_a_slow_reply_above_the_least_rate_is_waited_for(endless: Callable[..., HttpTransport]):
    piece = b"x" * 100
    transport = endless(OK + b"Content-Length: 900\r\nConnection: close\r\n\r\n", piece, 0.06)
    start = time.monotonic()
    assert transport.send(Request("GET", "/v2"), 1000).content == b"x" * 900
    assert time.monotonic() - start > SETTINGS.retries.response_timeout_s
