"""The Open Inference Protocol v2 over HTTP for one bundle: every cut is a version, `c000` the whole model."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from types import FrameType
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from data.errors import BadFrame, CutNotFound, HybridBatchError, OtherBundle
from inference.admission import Busy, Closing, Place
from inference.codecs import ON_THE_WIRE
from inference.cuts import Cut, TensorSpec
from inference.service import ServiceSettings, TailService
from inference.wire import HEADER_LENGTH

PATIENCE_S = 20.0  # with a client in the middle of its request, which keeps a place from others
_STATUS: dict[type[Exception], int] = {
    BadFrame: 400,
    CutNotFound: 404,
    OtherBundle: 409,
    Busy: 429,
    Closing: 503,
    HybridBatchError: 500,
}


def make_app(settings: ServiceSettings) -> Starlette:
    """The server as an ASGI application. Raises MissingExtra if the engine is not installed."""
    service = TailService(settings)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        _notice_signals(service)
        yield
        service.close()

    app = Starlette(
        routes=[
            Route("/v2", _server_metadata),
            Route("/v2/health/live", _live),
            Route("/v2/health/ready", _ready),
            *(
                Route(f"/v2/models/{{model}}{version}{path}", endpoint, methods=[method])
                for version in ("", "/versions/{version}")
                for method, path, endpoint in (
                    ("GET", "", _metadata),
                    ("GET", "/ready", _model_ready),
                    ("POST", "/infer", _infer),
                )
            ),
        ],
        exception_handlers={
            **dict.fromkeys(_STATUS, _refuse),
            HTTPException: _refuse_http,
            ClientDisconnect: _no_one_left,
            Exception: _fail,
        },
        lifespan=lifespan,
    )
    app.state.service = service
    return app


async def _server_metadata(_: Request) -> Response:
    return JSONResponse(
        {"name": "hybrid-batch", "version": version("hybrid-batch"), "extensions": ["binary_tensor_data"]}
    )


async def _live(_: Request) -> Response:
    return JSONResponse({"live": True})


async def _ready(request: Request) -> Response:
    ready = not _service(request).room.closing
    return JSONResponse({"ready": ready}, 200 if ready else 503)


async def _metadata(request: Request) -> Response:
    service, cut = _service(request), _cut(request)
    bundle = service.bundle
    return JSONResponse(
        {
            "name": bundle.name,
            "versions": [cut.id for cut in bundle.cuts],
            "platform": f"hybrid_batch_{service.settings.engine}",
            "inputs": [_described(tensor, tensor.datatype) for tensor in cut.boundary],
            "outputs": [_described(bundle.output, "FP32")],
            "parameters": {
                "sha256": bundle.sha256,
                "cut": cut.id,
                "cut_name": cut.name,
                "codecs": ",".join(ON_THE_WIRE),
                "max_request_bytes": service.settings.max_request_bytes,
            },
        }
    )


async def _model_ready(request: Request) -> Response:
    """Ready means compiled: who asks first waits for that, and no inference does."""
    service, cut = _service(request), _cut(request)
    await service.prepare(cut)
    return JSONResponse({"name": service.bundle.name, "version": cut.id, "ready": True})


async def _infer(request: Request) -> Response:
    service = _service(request)
    cut = _cut(request)
    with service.room.enter() as place:
        content = await _read(request, service.settings.max_request_bytes, place)
        body = await service.answer(cut, content, request.headers.get(HEADER_LENGTH), place)
    return Response(body.join(), headers=body.headers)


async def _read(request: Request, limit: int, place: Place) -> bytes:
    """The body, refused as soon as it is known to be too large; uvicorn then reads the rest and forgets it, so that
    the client gets the refusal and not a broken connection."""
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise HTTPException(415, "Compressed bodies are not read here; send the body as it is.")
    declared = request.headers.get("Content-Length", "")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(int(declared), limit)
    chunks: list[bytes] = []
    stream = request.stream()
    while True:
        try:
            chunk = await asyncio.wait_for(anext(stream, None), PATIENCE_S)
        except TimeoutError as error:
            raise HTTPException(408, f"Nothing came for {PATIENCE_S} s; send the request again.") from error
        if chunk is None:
            return b"".join(chunks)
        place.hold(len(chunk))
        chunks.append(chunk)
        if place.held > limit:
            raise _too_large(place.held, limit)


def _too_large(size: int, limit: int) -> HTTPException:
    return HTTPException(
        413,
        f"A request of {size} bytes is too large, the limit here is {limit}; "
        "send fewer images at once, or serve with a greater --max-request-mb.",
    )


def _refuse(_: Request, error: Exception) -> Response:
    status = next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)
    headers = {"Retry-After": "1"} if isinstance(error, Busy | Closing) else None
    return JSONResponse({"error": str(error)}, status, headers)


def _refuse_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for nothing else
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


def _fail(_: Request, error: Exception) -> Response:
    """The traceback goes to the log of this process, the client learns its last line."""
    return JSONResponse({"error": f"The server failed: {type(error).__name__}: {error}"}, 500)


def _no_one_left(_: Request, error: Exception) -> Response:
    return Response(status_code=400)


def _service(request: Request) -> TailService:
    service: TailService = request.app.state.service
    return service


def _cut(request: Request) -> Cut:
    return _service(request).find(request.path_params["model"], request.path_params.get("version"))


def _described(tensor: TensorSpec, datatype: str) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": datatype, "shape": [-1, *tensor.shape]}


def _notice_signals(service: TailService) -> None:
    """From the signal on new requests are refused, while the server that set the handlers finishes the others."""
    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)

        def notice(number: int, frame: FrameType | None, before: Any = before) -> None:  # noqa: ANN401
            service.room.closing = True
            if callable(before):
                before(number, frame)

        signal.signal(number, notice)
