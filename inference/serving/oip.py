"""The Open Inference Protocol v2 of one bundle: its operations, their paths, and the documents that describe a model.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
"""

import re
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum, auto
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from hybrid_batch.data.errors import CutNotFound
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import Cut, TensorSpec
from hybrid_batch.inference.protocol.codecs import list_wire_codecs
from hybrid_batch.inference.serving.replies import HttpError

MAX_REQUEST_BYTES = 64 << 20
_MODEL_PATH = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?(/ready|/infer)?")


class Operation(Enum):
    """The operations of the protocol."""

    SERVER_METADATA = auto()
    SERVER_LIVE = auto()
    SERVER_READY = auto()
    MODEL_METADATA = auto()
    MODEL_READY = auto()
    INFER = auto()


_SERVER_PATHS = {
    "/v2": Operation.SERVER_METADATA,
    "/v2/health/live": Operation.SERVER_LIVE,
    "/v2/health/ready": Operation.SERVER_READY,
}
_MODEL_ACTIONS = {
    None: Operation.MODEL_METADATA,
    "/ready": Operation.MODEL_READY,
    "/infer": Operation.INFER,
}


@dataclass(frozen=True, slots=True)
class RequestTarget:
    """An operation, and the model and version that the path of the request names: None in operations of the server,
    and where the path names no version."""

    operation: Operation
    model: str | None = None
    version: str | None = None


def parse_target(method: str, path: str) -> RequestTarget:
    """The target of a request. A slash at the end of the path is ignored. Raises HttpError with status 404 for an
    unknown path, 405 for a method that the path does not support."""
    path = path.removesuffix("/")
    if path in _SERVER_PATHS:
        target = RequestTarget(_SERVER_PATHS[path])
    elif match := _MODEL_PATH.fullmatch(path):
        model, version, action = match.groups()
        target = RequestTarget(_MODEL_ACTIONS[action], unquote(model), unquote(version) if version else None)
    else:
        raise HttpError(HTTPStatus.NOT_FOUND, HTTPStatus.NOT_FOUND.phrase)
    allowed = ("POST",) if target.operation is Operation.INFER else ("GET", "HEAD")
    if method not in allowed:
        status = HTTPStatus.METHOD_NOT_ALLOWED
        raise HttpError(status, status.phrase, {"Allow": ", ".join(allowed)})
    return target


def find_cut(bundle: Bundle, target: RequestTarget) -> Cut:
    """The cut that a target names: the whole model if it names no version. Raises CutNotFound."""
    if target.model != bundle.name:
        served = f"{bundle.name!r} ({bundle.sha256[:12]})"
        is_close = bool(get_close_matches(target.model or "", [bundle.name], 1))
        raise CutNotFound(
            f"No model named {target.model!r}; "
            + (f"did you mean {served}?" if is_close else f"this tail serves {served}.")
        )
    return bundle.input_cut if target.version is None else bundle.cut(target.version)


def check_encoding(content_encoding: str | None) -> None:
    """Raises HttpError with status 415 for a compressed body."""
    if content_encoding not in (None, "identity"):
        status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
        raise HttpError(status, "Compressed bodies are not supported; send the body uncompressed.")


def too_large(size: int, limit: int) -> HttpError:
    """The error of a request body of `size` bytes at a tail that reads up to `limit`."""
    return HttpError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"A request of {size} bytes exceeds the limit of {limit}; "
        "send fewer images at once, or serve with a greater --max-request-mb.",
    )


def describe_server() -> dict[str, Any]:
    """The metadata of the server."""
    from importlib.metadata import version

    return {"name": "hybrid-batch", "version": version("hybrid-batch"), "extensions": ["binary_tensor_data"]}


def describe_model(
    bundle: Bundle, cut: Cut, runtime: str, max_request_bytes: int, spill: str | None = None
) -> dict[str, Any]:
    """The metadata of a cut. `max_request_bytes` is the largest body that the transport to this tail carries, `spill`
    the S3 prefix from which the tail reads larger ones."""
    return {
        "name": bundle.name,
        "versions": [cut.id for cut in bundle.cuts],
        "platform": f"hybrid_batch_{runtime}",
        "inputs": [_describe_tensor(tensor, tensor.datatype) for tensor in cut.boundary],
        "outputs": [_describe_tensor(bundle.output, "FP32")],
        "parameters": {
            "sha256": bundle.sha256,
            "cut": cut.id,
            "cut_name": cut.name,
            "codecs": ",".join(list_wire_codecs()),
            "max_request_bytes": max_request_bytes,
            **({"spill": spill} if spill else {}),
        },
    }


def describe_ready(bundle: Bundle, cut: Cut) -> dict[str, Any]:
    """The readiness document of a compiled cut."""
    return {"name": bundle.name, "version": cut.id, "ready": True}


def _describe_tensor(tensor: TensorSpec, datatype: str) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": datatype, "shape": [-1, *tensor.shape]}
