"""The ASGI application: reads HTTP requests, within limits, for an AsyncRequestHandler and sends its replies.

The Open Inference Protocol v2 for one bundle: every cut is a version of the model, `c000` the whole model.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any

import starlette.requests
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from hybrid_batch.inference.protocol.transport import Reply, Request
from hybrid_batch.inference.serving import oip
from hybrid_batch.inference.serving.http.admission import Permit
from hybrid_batch.inference.serving.http.async_handler import AsyncRequestHandler, ServerSettings
from hybrid_batch.inference.serving.oip import Operation
from hybrid_batch.inference.serving.replies import HttpError, error_reply


def make_app(settings: ServerSettings) -> Starlette:
    """The server as an ASGI application. Raises WrongUsage for a bad `spill`, MissingExtra if the runtime is not
    installed."""
    handler = AsyncRequestHandler(settings)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        _reject_requests_after_signals(handler)
        yield
        handler.close()

    app = Starlette(routes=[Route("/{path:path}", _Endpoint(handler))], lifespan=lifespan)
    app.state.handler = handler
    return app


class _Endpoint:
    """The ASGI endpoint of all paths and methods: RequestHandler knows the paths."""

    def __init__(self, handler: AsyncRequestHandler) -> None:
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        received = starlette.requests.Request(scope, receive)
        try:
            reply = await self._handle(received)
        except starlette.requests.ClientDisconnect:
            reply = Reply(400)  # to a closed connection
        except Exception as error:
            reply = error_reply(error)
        await Response(reply.content, reply.status, dict(reply.headers))(scope, receive, send)

    async def _handle(self, received: starlette.requests.Request) -> Reply:
        path = _raw_path(received)
        target = oip.parse_target(received.method, path)
        if target.operation is not Operation.INFER:
            return await self._handler.describe(target)
        self._handler.check(target)
        with self._handler.admission.admit() as permit:
            content = await _read_content(received, self._handler.settings, permit)
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in received.headers.raw}
            request = Request(received.method, path, headers, content)
            return await self._handler.infer(target, request, permit)


def _raw_path(received: starlette.requests.Request) -> str:
    """The path with its percent-escapes, as other transports deliver it: a model's name may hold an escaped slash."""
    raw: bytes | None = received.scope.get("raw_path")
    return str(received.scope["path"]) if raw is None else raw.decode("latin-1")


async def _read_content(received: starlette.requests.Request, settings: ServerSettings, permit: Permit) -> bytes:
    """The body. It is rejected as soon as its size is known to exceed the limit; uvicorn then reads and discards the
    rest, so that the client receives the reply instead of a broken connection. Raises HttpError, Overloaded."""
    oip.check_encoding(received.headers.get("Content-Encoding"))
    limit, timeout_s, now = settings.max_request_bytes, settings.read_timeout_s, asyncio.get_running_loop().time
    declared = received.headers.get("Content-Length", "")
    if declared.isdigit() and int(declared) > limit:
        raise oip.too_large(int(declared), limit)
    chunks: list[bytes] = []
    try:
        async with asyncio.timeout(timeout_s) as timeout:
            async for chunk in received.stream():
                timeout.reschedule(now() + timeout_s)
                permit.reserve(len(chunk))
                chunks.append(chunk)
                if permit.reserved_bytes > limit:
                    raise oip.too_large(permit.reserved_bytes, limit)
    except TimeoutError as error:
        raise HttpError(408, f"No data arrived for {timeout_s:g} s; send the request again.") from error
    return b"".join(chunks)


def _reject_requests_after_signals(handler: AsyncRequestHandler) -> None:
    """After SIGTERM or SIGINT reject new requests; the server, which set the present handlers, finishes the others."""
    for number in (signal.SIGTERM, signal.SIGINT):
        previous = signal.getsignal(number)

        def notice(number: int, frame: FrameType | None, previous: Any = previous) -> None:  # noqa: ANN401
            handler.admission.shutting_down = True
            if callable(previous):
                previous(number, frame)

        signal.signal(number, notice)
