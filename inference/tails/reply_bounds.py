"""Bounds on the reply of a tail that is hostile or broken: the time it takes, and its bytes with headers and trailers.

http.client and urllib3 have a timeout for each piece that arrives, and read status lines with code 100 and trailers
without end, so a tail that sends a byte now and then would hold a request for ever."""

import socket
import threading
import time
from http.client import HTTPResponse
from io import BufferedReader, RawIOBase
from typing import Any

from hybrid_batch.data.errors import InvalidFrame

MIN_REPLY_BYTES_PER_S = 1000
MAX_OVERHEAD_BYTES = 1 << 16  # of a reply beyond twice its content: headers, sizes of chunks, trailers


class ReplyBounds(threading.local):
    """The bounds of the request that a thread sends: `content_bytes` is the most content that it reads."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.content_bytes = 0

    def response_class(self) -> type[HTTPResponse]:
        """Return the class for the responses of a connection."""
        bounds = self

        class BoundedResponse(HTTPResponse):
            def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:  # noqa: ANN401
                super().__init__(sock, *arguments, **options)
                raw = self.fp.detach()
                most = 2 * bounds.content_bytes + MAX_OVERHEAD_BYTES
                self.fp = BufferedReader(_BoundedStream(raw, sock, bounds.timeout_s, most))

        return BoundedResponse


class _BoundedStream(RawIOBase):
    """What a socket receives. Raises TimeoutError if it receives less than MIN_REPLY_BYTES_PER_S after `timeout_s`, and
    InvalidFrame for more than `most` bytes."""

    def __init__(self, raw: RawIOBase, sock: socket.socket, timeout_s: float, most: int) -> None:
        self._raw, self._socket, self._timeout_s, self._most = raw, sock, timeout_s, most
        self._deadline_s = time.monotonic() + timeout_s
        self._received = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - a writable buffer
        if self._received:  # the first piece has the timeout of the socket
            left_s = self._deadline_s + self._received / MIN_REPLY_BYTES_PER_S - time.monotonic()
            if left_s <= 0:
                raise TimeoutError(f"the reply is slower than {MIN_REPLY_BYTES_PER_S} bytes/s")
            self._socket.settimeout(min(left_s, self._timeout_s))
        count: int = self._raw.readinto(buffer) or 0
        self._received += count
        if self._received > self._most:
            raise InvalidFrame(f"The tail sent more than {self._most} bytes in one reply.")
        return count

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()
