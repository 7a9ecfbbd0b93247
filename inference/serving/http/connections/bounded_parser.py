"""Parses HTTP/1.1 requests in bounded time: h11 with limits for the number of headers and the size of chunks."""

from http import HTTPStatus

import h11

from hybrid_batch.inference.serving.http.connections.connection_limits import MAX_HEADER_BYTES, MAX_HEADERS

# A chunk costs 10 us or more however small it is. 64 bytes are less than any client sends but in its first chunks.
_FREE_CHUNKS, _BYTES_PER_CHUNK = 256, 64


class BoundedParser(h11.Connection):
    """The server's side of a connection. `next_event` also raises RemoteProtocolError for a header of more than 16 KiB
    or 100 lines or with two lengths of the body, and for a body in many small chunks."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, MAX_HEADER_BYTES)
        self._chunks = self._bytes = 0

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """See h11.Connection."""
        event = super().next_event()
        if isinstance(event, h11.Data):
            self._count(event)
        elif isinstance(event, h11.Request):
            self._chunks = self._bytes = 0
            _check_header(event)
        return event

    def _count(self, data: h11.Data) -> None:
        self._chunks += data.chunk_end
        self._bytes += len(data.data)
        if self._chunks > _FREE_CHUNKS + self._bytes // _BYTES_PER_CHUNK:
            raise h11.RemoteProtocolError(
                f"{self._chunks} chunks hold {self._bytes} bytes; send chunks of at least {_BYTES_PER_CHUNK} bytes"
            )


def _check_header(request: h11.Request) -> None:
    names = {name for name, _ in request.headers}
    if b"transfer-encoding" in names and b"content-length" in names:  # a proxy may see another end of the body
        raise h11.RemoteProtocolError("a request has both Content-Length and Transfer-Encoding")
    size = len(request.target) + sum(len(name) + len(value) + 4 for name, value in request.headers)
    if len(request.headers) > MAX_HEADERS or size > MAX_HEADER_BYTES:
        raise h11.RemoteProtocolError(
            f"a header of {len(request.headers)} lines and {size} bytes exceeds the limits of {MAX_HEADERS} lines and "
            f"{MAX_HEADER_BYTES} bytes",
            error_status_hint=HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        )
