"""The Open Inference Protocol v2 over HTTP for one bundle: every cut is a version, `c000` the whole model."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hybrid_batch.inference.model.cuts import Cut
from hybrid_batch.inference.protocol.spill import SPILL
from hybrid_batch.inference.protocol.wire import HEADER_LENGTH
from hybrid_batch.inference.serving import oip as protocol
from hybrid_batch.inference.serving.http.admission import Place
from hybrid_batch.inference.serving.http.service import ServiceSettings, TailService


def make_app(settings: ServiceSettings) -> Starlette:
    """The server as an ASGI application. Raises MissingExtra if the engine is not installed."""
    service = TailService(settings)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        _notice_signals(service)
        yield
        service.close()

    app = Starlette(
        routes=[Route(route.path, _ENDPOINTS[route.verb], methods=[route.method]) for route in protocol.ROUTES],
        exception_handlers={
            **dict.fromkeys(protocol.REFUSALS, _refuse),
            HTTPException: _refuse_http,
            ClientDisconnect: _no_one_left,
            Exception: _refuse,
        },
        lifespan=lifespan,
    )
    app.state.service = service
    return app


async def _server_metadata(_: Request) -> Response:
    return JSONResponse(protocol.describe_server())


async def _live(_: Request) -> Response:
    return JSONResponse({"live": True})


async def _ready(request: Request) -> Response:
    ready = not _service(request).room.closing
    return JSONResponse({"ready": ready}, 200 if ready else 503)


async def _metadata(request: Request) -> Response:
    service, cut = _service(request), _cut(request)
    engine, limit = service.settings.engine, service.settings.max_request_bytes
    spill = service.spill.uri if service.spill else None
    return JSONResponse(protocol.describe_model(service.bundle, cut, engine, limit, spill))


async def _model_ready(request: Request) -> Response:
    """Ready means compiled: who asks first waits for that, and no inference does."""
    service, cut = _service(request), _cut(request)
    await service.prepare(cut)
    return JSONResponse(protocol.describe_ready(service.bundle, cut))


async def _infer(request: Request) -> Response:
    service = _service(request)
    cut = _cut(request)
    with service.room.enter() as place:
        content = await _read(request, service.settings, place)
        if not content and (lies_at := request.headers.get(SPILL)) is not None:
            content = await service.fetch(lies_at, place)
        body = await service.answer(cut, content, request.headers.get(HEADER_LENGTH), place)
    return Response(body.join(), headers=body.headers)


async def _read(request: Request, settings: ServiceSettings, place: Place) -> bytes:
    """The body, refused as soon as it is known to be too large; uvicorn then reads the rest and forgets it, so that
    the client gets the refusal and not a broken connection."""
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise protocol.compressed()
    limit, patience_s, now = settings.max_request_bytes, settings.patience_s, asyncio.get_running_loop().time
    declared = request.headers.get("Content-Length", "")
    if declared.isdigit() and int(declared) > limit:
        raise protocol.too_large(int(declared), limit)
    chunks: list[bytes] = []
    try:
        async with asyncio.timeout(patience_s) as patience:
            async for chunk in request.stream():
                patience.reschedule(now() + patience_s)
                place.hold(len(chunk))
                chunks.append(chunk)
                if place.held > limit:
                    raise protocol.too_large(place.held, limit)
    except TimeoutError as error:
        raise protocol.Refused(408, f"Nothing came for {patience_s:g} s; send the request again.") from error
    return b"".join(chunks)


def _refuse(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": protocol.message_of(error)}, protocol.status_of(error), protocol.headers_of(error))


def _refuse_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for nothing else
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


def _no_one_left(_: Request, error: Exception) -> Response:
    return Response(status_code=400)


def _service(request: Request) -> TailService:
    service: TailService = request.app.state.service
    return service


def _cut(request: Request) -> Cut:
    bundle = _service(request).bundle
    return protocol.find_cut(bundle, request.path_params["model"], request.path_params.get("version"))


_ENDPOINTS = {
    "server": _server_metadata,
    "live": _live,
    "ready": _ready,
    "model": _metadata,
    "model_ready": _model_ready,
    "infer": _infer,
}


def _notice_signals(service: TailService) -> None:
    """From the signal on new requests are refused, while the server that set the handlers finishes the others."""
    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)

        def notice(number: int, frame: FrameType | None, before: Any = before) -> None:  # noqa: ANN401
            service.room.closing = True
            if callable(before):
                before(number, frame)

        signal.signal(number, notice)
