"""The transport over HTTP, to `hybrid-batch serve` or any other server of the Open Inference Protocol."""

import os
import ssl
import time
from collections.abc import Iterator
from http.client import BadStatusLine, IncompleteRead, RemoteDisconnected
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError, LocationParseError
from urllib3.util import Retry, Timeout, Url, parse_url

from hybrid_batch.data.errors import InvalidFrame, WrongUsage
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.protocol.transport import NoResponse, Reply, Request
from hybrid_batch.inference.tails import redacted_address
from hybrid_batch.inference.tails.access.auth import find_auth
from hybrid_batch.inference.tails.access.proxy import find_proxy
from hybrid_batch.inference.tails.remote import RemoteTail
from hybrid_batch.inference.tails.reply_bounds import ReplyBounds
from hybrid_batch.inference.tails.settings import TailSettings

_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "hybrid-batch"}
_ONCE = Retry(False, redirect=False)  # RemoteTail decides on retries
_CAUSES = {  # in place of messages that only users of the library understand
    RemoteDisconnected: "the connection was closed without an answer",
    IncompleteRead: "the connection was closed in the middle of the answer",
    BadStatusLine: "the response is not HTTP",
}
_PIECE_BYTES = 1 << 18  # smaller pieces cost processor time, larger ones exceed the timeout on a slow link
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


class HttpTransport:
    """See Transport. Connections are kept open. Raises WrongUsage for an invalid address or token, TailRefused for
    unusable AWS settings."""

    hint = "check the address, and that `hybrid-batch serve` or a deployed tail is running"

    def __init__(self, address: str, settings: TailSettings | None = None) -> None:
        settings = settings or TailSettings()
        self.name = redacted_address(address.rstrip("/"))
        url = _parse(address)
        self._auth = find_auth(url, settings.token_file)
        self._origin = f"{url.scheme}://{url.netloc}"
        self._path, self._query = (url.path or "").rstrip("/"), f"?{url.query}" if url.query else ""
        self._bounds = ReplyBounds(settings.retries.response_timeout_s)
        self._connections = _connections(url, settings, self._bounds)
        # A proxy forwards http: requests to the origin in the request line; https: passes through it in a tunnel.
        self._target_prefix = self._origin if self._connections.proxy and url.scheme == "http" else ""

    def max_content_bytes(self, request: Request) -> None:
        """See Transport."""

    def send(self, request: Request, limit: int) -> Reply:
        """See Transport."""
        target = f"{self._path}{request.path}{self._query}"
        headers, is_post = {**_HEADERS, **request.headers}, request.method == "POST"
        if is_post:
            headers["Content-Length"] = str(len(request.content))
        if self._auth is not None:
            headers |= self._auth.headers(request.method, self._origin + target, request.content)
        start = time.perf_counter_ns()
        self._bounds.content_bytes = limit
        try:
            response = self._connections.urlopen(
                request.method,
                self._target_prefix + target,
                body=_pieces(request.content) if is_post else None,
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
                response.close()  # keeps the connection if the response was read to its end
                response.release_conn()
        except HTTPError as error:
            raise NoResponse(_cause(error)) from error
        except (ValueError, OverflowError) as error:  # http.client's for a chunk of negative size
            raise NoResponse(_CAUSES[BadStatusLine]) from error
        return Reply(response.status, response.headers, received, (time.perf_counter_ns() - start) // 1000)

    def close(self) -> None:
        """See Transport."""
        self._connections.close()

    def _read(self, response: urllib3.BaseHTTPResponse, limit: int) -> bytes:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise InvalidFrame(f"{self.name} sent a compressed response, which was not requested.")
        received = bytearray()
        while piece := response.read(limit + 1 - len(received)):
            received += piece
            if len(received) > limit:
                raise InvalidFrame(f"{self.name} sent more than the {limit} bytes expected.")
        return bytes(received)


def open_http_tail(address: str, bundle: Bundle, settings: TailSettings | None = None) -> RemoteTail:
    """Open the tail at http(s)://HOST[:PORT][/PATH]. Raises WrongUsage for an invalid address."""
    settings = settings or TailSettings()
    return RemoteTail(HttpTransport(address, settings), bundle, settings)


def _parse(address: str) -> Url:
    try:
        url = parse_url(address)
    except LocationParseError as error:
        raise WrongUsage(
            f"{redacted_address(address)!r} is not an address; give one such as http://host:8000."
        ) from error
    if not url.host:
        raise WrongUsage(f"{redacted_address(address)!r} names no host; give an address such as http://host:8000.")
    return url


def _connections(url: Url, settings: TailSettings, bounds: ReplyBounds) -> urllib3.HTTPConnectionPool:
    """A pool with one connection for each thread."""
    options: dict[str, Any] = {
        "timeout": Timeout(connect=settings.retries.connect_timeout_s, read=settings.retries.response_timeout_s),
        "maxsize": settings.in_flight,
        "block": True,
    }
    if url.scheme == "https":  # only: reading the certificates takes longer than a request
        options["ssl_context"] = _trusted()
    proxy = find_proxy(url)
    manager = urllib3.ProxyManager(proxy.url, proxy_headers=proxy.headers, **options) if proxy else None
    pool = (manager or urllib3.PoolManager(**options)).connection_from_host(url.host, url.port, url.scheme)
    pool.ConnectionCls = _with_limits(pool.ConnectionCls, bounds)
    return pool


def _with_limits(kind: type[Any], bounds: ReplyBounds) -> type[Any]:
    """Connections with bounded replies, and with a timeout for each piece they send. Those of urllib3 apply the timeout
    for connecting to sending the whole request, which is too short for large requests over slow links."""

    class LimitedConnection(kind):  # type: ignore[misc]
        response_class = bounds.response_class()

        def request(self, *arguments: object, **options: object) -> None:
            if self.sock is None:
                self.connect()
            self.timeout = bounds.timeout_s
            super().request(*arguments, **options)

    return LimitedConnection


def _pieces(content: bytes) -> Iterator[bytes]:
    return (content[start : start + _PIECE_BYTES] for start in range(0, len(content), _PIECE_BYTES))


def _trusted() -> ssl.SSLContext:
    """Trust the certificates that the environment names, else those of browsers."""
    import certifi

    named = any(os.environ.get(variable) for variable in _CERTIFICATES)
    return ssl.create_default_context(cafile=None if named else certifi.where())


def _cause(error: BaseException) -> str:
    """The innermost cause of an error, in a few words for the end of a sentence."""
    inner = error
    while (cause := next((one for one in inner.args if isinstance(one, BaseException)), inner.__cause__)) is not None:
        inner = cause
    plain = inner.strerror.lower() if isinstance(inner, OSError) and inner.strerror else str(inner)
    words = next((words for kind, words in _CAUSES.items() if isinstance(inner, kind)), plain)
    return words or type(inner).__name__
