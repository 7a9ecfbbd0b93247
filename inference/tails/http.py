"""The exchange over HTTP: `hybrid-batch serve`, or any server of the Open Inference Protocol with our bundle."""

import os
import ssl
import time
from collections.abc import Iterator
from http.client import BadStatusLine, IncompleteRead, RemoteDisconnected
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError, LocationParseError
from urllib3.util import Retry, Timeout, Url, parse_url

from hybrid_batch.data.errors import BadFrame, WrongUsage
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.protocol.transport import NoAnswer, Reply, Request
from hybrid_batch.inference.tails import public_address
from hybrid_batch.inference.tails.auth import find_access
from hybrid_batch.inference.tails.proxy import find_proxy
from hybrid_batch.inference.tails.remote import ServedTail
from hybrid_batch.inference.tails.settings import TailSettings

_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "hybrid-batch"}
_ONCE = Retry(False, redirect=False)  # whether to ask again, and whom, is decided in ServedTail
_WORDS = {  # where the library's own are for those who know it
    RemoteDisconnected: "the connection was closed without an answer",
    IncompleteRead: "the connection was closed in the middle of the answer",
    BadStatusLine: "what came is no HTTP",
}
_PIECE_BYTES = 1 << 18  # smaller ones take the processor longer, larger ones a slow link
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


class HttpExchange:
    """See Exchange. Connections are kept."""

    advice = "check the address, and that `hybrid-batch serve` or a deployed tail runs there"

    def __init__(self, address: str, settings: TailSettings | None = None) -> None:
        settings = settings or TailSettings()
        self.name = public_address(address.rstrip("/"))
        url = _parse(address)
        self._access = find_access(url, settings.token_file)
        self._origin = f"{url.scheme}://{url.netloc}"
        self._path, self._query = (url.path or "").rstrip("/"), f"?{url.query}" if url.query else ""
        self._connections = _connections(url, settings)
        # A proxy that asks for us must know whom; what it only lets through it does not see.
        self._asked = self._origin if self._connections.proxy and url.scheme == "http" else ""

    def room(self, request: Request) -> None:
        """See Exchange."""

    def ask(self, request: Request, limit: int) -> Reply:
        """See Exchange."""
        target = f"{self._path}{request.path}{self._query}"
        headers, posted = {**_HEADERS, **request.headers}, request.method == "POST"
        if posted:
            headers["Content-Length"] = str(len(request.content))
        if self._access is not None:
            headers |= self._access.headers(request.method, self._origin + target, request.content)
        began = time.perf_counter_ns()
        try:
            response = self._connections.urlopen(
                request.method,
                self._asked + target,
                body=_pieces(request.content) if posted else None,
                headers=headers,
                retries=_ONCE,
                redirect=False,
                assert_same_host=False,
                preload_content=False,
                decode_content=False,
            )
            try:
                received = self._read(response, limit)
            finally:
                response.close()  # of a reply that was read to its end the connection is kept all the same
                response.release_conn()
        except HTTPError as error:
            raise NoAnswer(_cause(error)) from error
        return Reply(response.status, response.headers, received, (time.perf_counter_ns() - began) // 1000)

    def close(self) -> None:
        """See Exchange."""
        self._connections.close()

    def _read(self, response: urllib3.BaseHTTPResponse, limit: int) -> bytes:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise BadFrame(f"{self.name} answered compressed, which was not asked for.")
        received = bytearray()
        while piece := response.read(limit + 1 - len(received)):
            received += piece
            if len(received) > limit:
                raise BadFrame(f"{self.name} answered more than the {limit} bytes that were due.")
        return bytes(received)


def http_tail(address: str, bundle: Bundle, settings: TailSettings | None = None) -> ServedTail:
    """The tail at http(s)://HOST[:PORT][/PATH]. Raises WrongUsage for what is no address."""
    settings = settings or TailSettings()
    return ServedTail(HttpExchange(address, settings), bundle, settings)


def _parse(address: str) -> Url:
    try:
        url = parse_url(address)
    except LocationParseError as error:
        raise WrongUsage(f"{public_address(address)!r} is no address; give one such as http://host:8000.") from error
    if not url.host:
        raise WrongUsage(f"{public_address(address)!r} names no host; give an address such as http://host:8000.")
    return url


def _connections(url: Url, settings: TailSettings) -> urllib3.HTTPConnectionPool:
    """As many connections as may be asked at once."""
    options: dict[str, Any] = {
        "timeout": Timeout(connect=settings.patience.connect_s, read=settings.patience.answer_s),
        "maxsize": settings.in_flight,
        "block": True,
    }
    if url.scheme == "https":  # else not: reading the certificates takes longer than a request
        options["ssl_context"] = _trusted()
    proxy = find_proxy(url)
    manager = urllib3.ProxyManager(proxy.url, proxy_headers=proxy.headers, **options) if proxy else None
    pool = (manager or urllib3.PoolManager(**options)).connection_from_host(url.host, url.port, url.scheme)
    pool.ConnectionCls = _patient(pool.ConnectionCls, settings.patience.answer_s)
    return pool


def _patient(kind: type[Any], answer_s: float) -> type[Any]:
    """Connections that wait so long for each piece they send. urllib3's would have the time to connect for all of a
    request, which large ones over slow links do not keep to."""

    class Patient(kind):  # type: ignore[misc]
        def request(self, *arguments: object, **options: object) -> None:
            if self.sock is None:
                self.connect()
            self.timeout = answer_s
            super().request(*arguments, **options)

    return Patient


def _pieces(content: bytes) -> Iterator[bytes]:
    return (content[start : start + _PIECE_BYTES] for start in range(0, len(content), _PIECE_BYTES))


def _trusted() -> ssl.SSLContext:
    """Servers are trusted by the certificates that the environment names, else by those of browsers."""
    import certifi

    named = any(os.environ.get(variable) for variable in _CERTIFICATES)
    return ssl.create_default_context(cafile=None if named else certifi.where())


def _cause(error: BaseException) -> str:
    """What went wrong at the bottom of it, in some words for the end of a sentence."""
    below = error
    while (deeper := next((one for one in below.args if isinstance(one, BaseException)), below.__cause__)) is not None:
        below = deeper
    words = next((words for kind, words in _WORDS.items() if isinstance(below, kind)), str(below))
    return words or type(below).__name__
