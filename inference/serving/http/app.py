"""The ASGI application: reads HTTP requests, within limits, for an AsyncRequestHandler and sends its replies.

The Open Inference Protocol v2 for one bundle: every cut is a version of the model, `c000` the whole model.
"""

import asyncio
import re
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import FrameType
from typing import Any
from urllib.parse import unquote

import starlette.requests
from starlette.responses import Response
from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send

from hybrid_batch.inference.protocol.transport import Reply, Request
from hybrid_batch.inference.serving import oip
from hybrid_batch.inference.serving.http.access.gate import Gate
from hybrid_batch.inference.serving.http.async_handler import AsyncRequestHandler, ServerSettings
from hybrid_batch.inference.serving.http.connections.http_connection import CONNECTION
from hybrid_batch.inference.serving.http.connections.server_loop import ServerLoop
from hybrid_batch.inference.serving.http.request_body import BodyReader
from hybrid_batch.inference.serving.monitoring.observation import RequestObservation
from hybrid_batch.inference.serving.oip import Operation
from hybrid_batch.inference.serving.replies import HttpError, error_reply

Lifespan = Callable[[Any], AbstractAsyncContextManager[None]]
_ABSOLUTE = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)


class Application:
    """An ASGI application without routes: `endpoint` answers every target, so that none escapes its checks."""

    def __init__(self, handler: AsyncRequestHandler, endpoint: ASGIApp, lifespan: Lifespan) -> None:
        self.handler = handler
        self._endpoint = endpoint
        self._lifespan = Router(lifespan=lifespan)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See https://asgi.readthedocs.io/en/latest/specs/main.html."""
        await (self._lifespan if scope["type"] == "lifespan" else self._endpoint)(scope, receive, send)


def make_app(settings: ServerSettings) -> Application:
    """The server as an ASGI application. Raises WrongUsage for a bad `spill`, MissingExtra if the runtime is not
    installed."""
    handler = AsyncRequestHandler(settings)
    gate = Gate(settings.access, settings.max_pending, time.monotonic)

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        _reject_requests_after_signals(handler)
        _attach_to_loop(handler, gate, settings)
        yield
        handler.close()

    return Application(handler, _Endpoint(handler, gate), lifespan)


class _Endpoint:
    """The ASGI endpoint of all paths and methods: RequestHandler knows the paths."""

    def __init__(self, handler: AsyncRequestHandler, gate: Gate) -> None:
        self._handler, self._gate = handler, gate
        settings = handler.settings
        self._bodies = BodyReader(settings.connections, settings.max_request_bytes, settings.read_timeout_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope = _in_origin_form(scope)
        received = starlette.requests.Request(scope, receive)
        observation, error = RequestObservation(self._handler.metrics, self._handler.log, received), None
        try:
            reply = await self._handle(received, observation)
        except starlette.requests.ClientDisconnect:
            reply = Reply(400)  # to a closed connection
        except Exception as caught:
            reply, error = error_reply(caught, self._handler.log.failure), caught
        await Response(reply.content, reply.status, dict(reply.headers))(scope, receive, send)
        observation.finish(reply, error)
        _forget_frames(error)

    async def _handle(self, received: starlette.requests.Request, observation: RequestObservation) -> Reply:
        path = _raw_path(received)
        try:
            target = oip.parse_target(received.method, path)
        except HttpError:
            with self._gate.use(received.scope, self._gate.authenticate(received.scope, None)):
                raise
        observation.operation = target.operation
        client = self._gate.authenticate(received.scope, target.operation)
        with self._gate.use(received.scope, client) as count:
            if target.operation is not Operation.INFER:
                return await self._handler.describe(target, received.headers.get("Accept"))
            self._handler.check(target)
            self._handler.admission.check_open()
            content = await self._bodies.read(received, count)
            observation.read(content)
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in received.headers.raw}
            request = Request(received.method, path, headers, content)
            with self._handler.admission.admit(
                has_begun=True, client=self._gate.sharing(received.scope, client)
            ) as permit:
                permit.reserve(len(content))
                if (connection := received.scope.get(CONNECTION)) is not None:
                    connection.on_lost = permit.cancel
                with observation.span("infer"):
                    return await self._handler.infer(target, request, permit, observation.stages_ms)


def _forget_frames(error: BaseException | None) -> None:
    """Let go of the calls that an error has passed: they hold the request, and otherwise do until the next collection
    of cycles, because a future that one of them knows holds the error."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _in_origin_form(scope: Scope) -> Scope:
    """The scope with the path of a target in absolute form, which a server must accept (RFC 9112, 3.2.2)."""
    raw: bytes = scope.get("raw_path") or b""
    if not (match := _ABSOLUTE.match(raw)):
        return scope
    raw = raw[match.end() :] or b"/"
    return {**scope, "raw_path": raw, "path": unquote(raw.decode("latin-1"))}


def _raw_path(received: starlette.requests.Request) -> str:
    """The path with its percent-escapes, as other transports deliver it: a model's name may hold an escaped slash."""
    raw: bytes | None = received.scope.get("raw_path")
    return str(received.scope["path"]) if raw is None else raw.decode("latin-1")


def _attach_to_loop(handler: AsyncRequestHandler, gate: Gate, settings: ServerSettings) -> None:
    """Count the connections of a ServerLoop; read the token file and the certificate again after SIGHUP."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, ServerLoop):
        return
    loop.connections.metrics = handler.metrics

    def reload() -> None:
        gate.reload()
        loop.reload_certificate()

    loop.add_signal_handler(signal.SIGHUP, reload)


def _reject_requests_after_signals(handler: AsyncRequestHandler) -> None:
    """After SIGTERM or SIGINT reject new requests; the server, which set the present handlers, finishes the others."""
    for number in (signal.SIGTERM, signal.SIGINT):
        previous = signal.getsignal(number)

        def notice(number: int, frame: FrameType | None, previous: Any = previous) -> None:  # noqa: ANN401
            handler.admission.shutting_down = True
            if callable(previous):
                previous(number, frame)

        signal.signal(number, notice)
