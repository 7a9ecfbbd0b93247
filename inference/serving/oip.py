"""The Open Inference Protocol v2 of one bundle: its operations, their paths, and the documents that describe a model.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
"""

import json
import re
from collections.abc import Sequence
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
_MODEL_PATH = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?(/ready|/infer|/config|/stats)?")
# Class names up to this size are in the metadata, which clients read with a limit; the configuration has any.
_MAX_LABELS_BYTES = 32 << 10
_NAME_CHARACTERS = 80
_EXTENSIONS = ("binary_tensor_data", "model_repository", "model_configuration", "statistics")


class Operation(Enum):
    """The operations of the protocol, of Triton's extensions, and Prometheus' scrape."""

    SERVER_METADATA = auto()
    SERVER_LIVE = auto()
    SERVER_READY = auto()
    MODEL_METADATA = auto()
    MODEL_READY = auto()
    INFER = auto()
    REPOSITORY_INDEX = auto()
    MODEL_CONFIG = auto()
    STATISTICS = auto()
    METRICS = auto()


_SERVER_PATHS = {
    "/v2": Operation.SERVER_METADATA,
    "/v2/health/live": Operation.SERVER_LIVE,
    "/v2/health/ready": Operation.SERVER_READY,
    "/v2/repository/index": Operation.REPOSITORY_INDEX,
    "/metrics": Operation.METRICS,
}
_MODEL_ACTIONS = {
    None: Operation.MODEL_METADATA,
    "/ready": Operation.MODEL_READY,
    "/infer": Operation.INFER,
    "/config": Operation.MODEL_CONFIG,
    "/stats": Operation.STATISTICS,
}
_POSTED = (Operation.INFER, Operation.REPOSITORY_INDEX)


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
    allowed = ("POST",) if target.operation in _POSTED else ("GET", "HEAD")
    if method not in allowed:
        status = HTTPStatus.METHOD_NOT_ALLOWED
        raise HttpError(status, status.phrase, {"Allow": ", ".join(allowed)})
    return target


def find_cut(bundle: Bundle, target: RequestTarget, served: Sequence[Cut] | None = None) -> Cut:
    """The cut that a target names: the whole model if it names no version. Raises CutNotFound, also for a cut that is
    not among `served`, if given."""
    if target.model != bundle.name:
        present = f"{bundle.name!r} ({bundle.sha256[:12]})"
        is_close = bool(get_close_matches(target.model or "", [bundle.name], 1))
        raise CutNotFound(
            f"No model named {target.model!r}; "
            + (f"did you mean {present}?" if is_close else f"this tail serves {present}.")
        )
    version = bundle.input_cut.id if target.version is None else target.version
    if served is None:
        return bundle.cut(version)
    found = next((cut for cut in served if version in (cut.id, cut.name)), None)
    if found is None:
        raise CutNotFound(
            f"No cut {version[:_NAME_CHARACTERS]!r} is served; this server has {', '.join(cut.id for cut in served)}, "
            "chosen by --cuts."
        )
    return found


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


def too_large_decoded(batch: int, size: int, limit: int) -> HttpError:
    """The error of a request whose tensors have `size` bytes after decoding, at a tail that decodes up to `limit`."""
    return HttpError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"A request of {batch} images has {size} bytes decoded, more than the limit of {limit}; "
        "send fewer images at once, or serve with a greater --max-request-mb.",
    )


def describe_server() -> dict[str, Any]:
    """The metadata of the server."""
    from importlib.metadata import version

    return {"name": "hybrid-batch", "version": version("hybrid-batch"), "extensions": list(_EXTENSIONS)}


def describe_model(
    bundle: Bundle,
    cut: Cut,
    runtime: str,
    max_request_bytes: int,
    *,
    spill: str | None = None,
    served: Sequence[Cut] | None = None,
) -> dict[str, Any]:
    """The metadata of a cut. `max_request_bytes` is the largest body that the transport to this tail carries, `spill`
    the S3 prefix from which the tail reads larger ones, `served` the cuts that it has if not all."""
    labels = json.dumps(bundle.labels, ensure_ascii=False)
    return {
        "name": bundle.name,
        "versions": [cut.id for cut in served or bundle.cuts],
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
            **describe_input(bundle),
            **({"labels": labels} if len(labels) <= _MAX_LABELS_BYTES else {}),
        },
    }


def describe_input(bundle: Bundle) -> dict[str, str | int]:
    """How an image becomes the input of the whole model, and the kind of the scores: see docs/serving.md."""
    preprocessing = bundle.preprocessing
    return {
        "input_height": preprocessing.height,
        "input_width": preprocessing.width,
        "colour": preprocessing.colour,
        "resize": preprocessing.resize,
        "scale": preprocessing.scale,
        "output_kind": bundle.output_kind,
    }


def describe_ready(bundle: Bundle, cut: Cut) -> dict[str, Any]:
    """The readiness document of a compiled cut."""
    return {"name": bundle.name, "version": cut.id, "ready": True}


def _describe_tensor(tensor: TensorSpec, datatype: str) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": datatype, "shape": [-1, *tensor.shape]}
