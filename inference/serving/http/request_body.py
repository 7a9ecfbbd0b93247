"""Reads the body of a request within limits of size, memory and time."""

import asyncio
from collections.abc import Callable
from http import HTTPStatus

import starlette.requests

from hybrid_batch.inference.serving import oip
from hybrid_batch.inference.serving.http.connections.body_budget import BodyBudget
from hybrid_batch.inference.serving.http.connections.connection_limits import ConnectionLimits
from hybrid_batch.inference.serving.replies import HttpError


class BodyReader:
    """Reads bodies on one event loop. A body has `read_timeout_s` for each piece, and must arrive at the minimum rate
    and within the time of `limits`."""

    def __init__(self, limits: ConnectionLimits, max_bytes: int, read_timeout_s: float) -> None:
        self._limits, self._max_bytes, self._read_timeout_s = limits, max_bytes, read_timeout_s
        self._budget = BodyBudget(limits.body_bytes, _now)

    async def read(self, received: starlette.requests.Request, count: Callable[[int], None]) -> bytes:
        """The body; `count` is called with the size of each piece. It is rejected as soon as its size is known to
        exceed the limit; the rest is then received and dropped, so that the client gets the reply instead of a broken
        connection. Raises HttpError with status 408, 413 or 415, Overloaded, ClientDisconnect."""
        oip.check_encoding(received.headers.get("Content-Encoding"))
        declared = received.headers.get("Content-Length", "")
        if declared.isdigit() and int(declared) > self._max_bytes:
            raise oip.too_large(int(declared), self._max_bytes)
        start = _now()
        with self._budget.receive() as body:
            try:
                async with asyncio.timeout_at(self._deadline(start, 0)) as timeout:
                    body.evict = lambda: timeout.reschedule(start)
                    async for piece in received.stream():
                        self._budget.add(body, piece)
                        count(len(piece))
                        if body.size > self._max_bytes:
                            raise oip.too_large(body.size, self._max_bytes)
                        timeout.reschedule(self._deadline(start, body.size))
            except TimeoutError as error:
                raise HttpError(HTTPStatus.REQUEST_TIMEOUT, self._cause(start, body.is_evicted, body.size)) from error
            return b"".join(body.pieces)

    def _deadline(self, start: float, size: int) -> float:
        return min(_now() + self._read_timeout_s, start + self._limits.transfer_s(size))

    def _cause(self, start: float, is_evicted: bool, size: int) -> str:
        if is_evicted:
            return "The body stalled while other requests needed its memory; send the request again."
        if _now() - start < self._limits.transfer_s(size):
            return f"No data arrived for {self._read_timeout_s:g} s; send the request again."
        return f"The body arrived too slowly ({size} bytes in {_now() - start:.0f} s); send less at once."


def _now() -> float:
    return asyncio.get_running_loop().time()
