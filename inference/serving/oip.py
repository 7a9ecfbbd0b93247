"""What the Open Inference Protocol v2 says of one bundle: paths, documents and refusals, whatever carries them.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
"""

from dataclasses import dataclass
from difflib import get_close_matches
from http import HTTPStatus
from typing import Any

from hybrid_batch.data.errors import BadFrame, CutNotFound, HybridBatchError, OtherBundle
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import Cut, TensorSpec
from hybrid_batch.inference.protocol.codecs import ON_THE_WIRE
from hybrid_batch.inference.serving.http.admission import Busy, Closing

MAX_REQUEST_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Route:
    """A method and a path with {model} and {version} in it, and the verb it asks for."""

    method: str
    path: str
    verb: str


ROUTES = (
    Route("GET", "/v2", "server"),
    Route("GET", "/v2/health/live", "live"),
    Route("GET", "/v2/health/ready", "ready"),
    *(
        Route(method, f"/v2/models/{{model}}{version}{path}", verb)
        for version in ("", "/versions/{version}")
        for method, path, verb in (("GET", "", "model"), ("GET", "/ready", "model_ready"), ("POST", "/infer", "infer"))
    ),
)


class Refused(Exception):
    """A request is refused with this status, in this sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


_STATUS: dict[type[Exception], int] = {
    BadFrame: 400,
    CutNotFound: 404,
    OtherBundle: 409,
    Busy: 429,
    Closing: 503,
    HybridBatchError: 500,
}
REFUSALS: tuple[type[Exception], ...] = (Refused, *_STATUS)


def status_of(error: Exception) -> int:
    """The status that tells an error; 500 for one that nobody foresaw."""
    if isinstance(error, Refused):
        return error.status
    return next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)


def message_of(error: Exception) -> str:
    """What the asker learns of an error; a traceback goes to the log of the process alone."""
    return str(error) if isinstance(error, REFUSALS) else f"The server failed: {type(error).__name__}: {error}"


def headers_of(error: Exception) -> dict[str, str]:
    """When to ask again, where that helps."""
    return {"Retry-After": "1"} if isinstance(error, Busy | Closing) else {}


def not_found() -> Refused:
    """Nothing is at the path."""
    return Refused(HTTPStatus.NOT_FOUND, HTTPStatus.NOT_FOUND.phrase)


def not_allowed() -> Refused:
    """The path has other methods."""
    return Refused(HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.METHOD_NOT_ALLOWED.phrase)


def compressed() -> Refused:
    """The body has a Content-Encoding."""
    return Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Compressed bodies are not read here; send the body as it is.")


def too_large(size: int, limit: int) -> Refused:
    """The body has more bytes than are read here."""
    return Refused(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"A request of {size} bytes is too large, the limit here is {limit}; "
        "send fewer images at once, or serve with a greater --max-request-mb.",
    )


def describe_server() -> dict[str, Any]:
    """Who answers."""
    from importlib.metadata import version

    return {"name": "hybrid-batch", "version": version("hybrid-batch"), "extensions": ["binary_tensor_data"]}


def describe_model(
    bundle: Bundle, cut: Cut, engine: str, max_request_bytes: int, spill: str | None = None
) -> dict[str, Any]:
    """The metadata of a cut; `max_request_bytes` is the largest body that reaches this tail the way it is asked, and
    `spill` the place in S3 from where it reads larger ones."""
    return {
        "name": bundle.name,
        "versions": [cut.id for cut in bundle.cuts],
        "platform": f"hybrid_batch_{engine}",
        "inputs": [_described(tensor, tensor.datatype) for tensor in cut.boundary],
        "outputs": [_described(bundle.output, "FP32")],
        "parameters": {
            "sha256": bundle.sha256,
            "cut": cut.id,
            "cut_name": cut.name,
            "codecs": ",".join(ON_THE_WIRE),
            "max_request_bytes": max_request_bytes,
            **({"spill": spill} if spill else {}),
        },
    }


def describe_ready(bundle: Bundle, cut: Cut) -> dict[str, Any]:
    """That a cut is compiled."""
    return {"name": bundle.name, "version": cut.id, "ready": True}


def find_cut(bundle: Bundle, model: str, version: str | None) -> Cut:
    """The cut a request names; without a version the whole model. Raises CutNotFound."""
    if model != bundle.name:
        near = get_close_matches(model, [bundle.name], 1)
        raise CutNotFound(
            f"No model named {model!r} here{'; did you mean' if near else ', which serves'} "
            f"{bundle.name!r} ({bundle.sha256[:12]}){'?' if near else '.'}"
        )
    return bundle.whole if version is None else bundle.cut(version)


def _described(tensor: TensorSpec, datatype: str) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": datatype, "shape": [-1, *tensor.shape]}
