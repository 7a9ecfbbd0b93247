"""Frames on the wire: Open Inference Protocol v2 over HTTP with Triton's binary tensor extension.

A body is a JSON header followed by the tensors' bytes; `Inference-Header-Content-Length` says where the
header ends. An encoded tensor is a UINT8 tensor whose parameters tell codec, shape and datatype:

    {"name": "conv/Relu:0", "datatype": "UINT8", "shape": [5211],
     "parameters": {"codec": "int8", "shape": [8, 14, 14, 64], "datatype": "FP32", "binary_data_size": 5211}}

Nothing here trusts a number it was sent: sizes are compared with what arrived, and nothing is allocated for
a size that was only declared. Whatever is wrong is a BadFrame.
https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeGuard

from hybrid_batch.data.errors import BadFrame
from hybrid_batch.inference.model.datatypes import BYTES, NUMPY, from_json, to_json

HEADER_LENGTH = "Inference-Header-Content-Length"
BINARY_OUTPUT = "binary_data_output"
MAX_HEADER_BYTES = 1 << 20
MAX_JSON_BYTES = 1 << 24  # Python's objects for a list of numbers take some ten times its text
MAX_TENSORS = 64
MAX_RANK = 8
_SIZE = "binary_data_size"
_DIGITS = 20


@dataclass(frozen=True, slots=True)
class WireTensor:
    """A tensor as it travels. `shape` describes `data`; `parameters` leave out the binary size."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes | memoryview
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wanted:
    """An output a request asks for, and whether as binary; by default all of them as the request says."""

    name: str
    binary: bool


@dataclass(frozen=True, slots=True)
class Frame:
    """One request or reply."""

    tensors: tuple[WireTensor, ...]
    id: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    wanted: tuple[Wanted, ...] = ()


@dataclass(frozen=True, slots=True)
class Body:
    """An HTTP body in pieces. `header_bytes` is None when it is JSON alone."""

    pieces: tuple[bytes | memoryview, ...]
    header_bytes: int | None

    @property
    def size(self) -> int:
        """Bytes of the whole body."""
        return sum(len(piece) for piece in self.pieces)

    @property
    def headers(self) -> dict[str, str]:
        """The HTTP headers that describe it."""
        if self.header_bytes is None:
            return {"Content-Type": "application/json"}
        return {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(self.header_bytes)}

    def join(self) -> bytes:
        """The body in one piece, the only copy made of the tensors."""
        return b"".join(self.pieces)


def encode_request(frame: Frame) -> Body:
    """The body of a request; every tensor travels as binary, and so shall the reply's."""
    head: dict[str, Any] = {"id": frame.id} if frame.id else {}
    head["parameters"] = {**frame.parameters, BINARY_OUTPUT: True}
    return _encode(head, "inputs", frame.tensors, [True] * len(frame.tensors))


def encode_response(frame: Frame, request: Frame, model: str, version: str) -> Body:
    """The body of a reply, with the outputs the request asked for in the form it asked for: JSON unless it
    said binary. Raises BadFrame if it asked for an output the frame does not have."""
    head: dict[str, Any] = {"model_name": model, "model_version": version}
    if request.id:
        head["id"] = request.id
    if frame.parameters:
        head["parameters"] = dict(frame.parameters)
    tensors = {tensor.name: tensor for tensor in frame.tensors}
    default = request.parameters.get(BINARY_OUTPUT) is True
    wanted = request.wanted or tuple(Wanted(name, default) for name in tensors)
    missing = [repr(output.name) for output in wanted if output.name not in tensors]
    if missing:
        raise BadFrame(f"No output named {' or '.join(missing)}; there is {', '.join(map(repr, tensors))}.")
    return _encode(head, "outputs", [tensors[output.name] for output in wanted], [output.binary for output in wanted])


def decode_request(body: bytes | memoryview, header_bytes: int | None) -> Frame:
    """The frame of a request's body. Raises BadFrame."""
    return _decode(body, header_bytes, "inputs")


def decode_response(body: bytes | memoryview, header_bytes: int | None) -> Frame:
    """The frame of a reply's body. Raises BadFrame."""
    return _decode(body, header_bytes, "outputs")


def parse_header_length(text: str | None) -> int | None:
    """The value of `Inference-Header-Content-Length`. Raises BadFrame."""
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_HEADER_BYTES))):
        raise BadFrame(f"{HEADER_LENGTH} is {text[:40]!r}, not a number of bytes up to {MAX_HEADER_BYTES}.")
    return int(text)


def _encode(head: dict[str, Any], key: str, tensors: Sequence[WireTensor], binary: Sequence[bool]) -> Body:
    described: list[dict[str, Any]] = []
    pieces: list[bytes | memoryview] = []
    for tensor, as_binary in zip(tensors, binary, strict=True):
        entry = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
        parameters = dict(tensor.parameters)
        if as_binary:
            parameters[_SIZE] = len(tensor.data)
            pieces.append(tensor.data)
        else:
            entry["data"] = to_json(tensor.data, tensor.datatype, math.prod(tensor.shape))
        described.append(entry | {"parameters": parameters} if parameters else entry)
    header = json.dumps(head | {key: described}, separators=(",", ":")).encode()
    header += b" " * _room(head.get("parameters", {}))
    return Body((header, *pieces), len(header) if pieces else None)


def _room(parameters: Mapping[str, Any]) -> int:
    """Blanks that give every whole number the room of the longest, so that a frame's size does not tell the time."""
    return sum(_DIGITS - len(str(value)) for value in parameters.values() if type(value) is int)


def _decode(body: bytes | memoryview, header_bytes: int | None, key: Literal["inputs", "outputs"]) -> Frame:
    view = memoryview(body)
    limit = MAX_JSON_BYTES if header_bytes is None else MAX_HEADER_BYTES
    end = len(view) if header_bytes is None else header_bytes
    if not 0 < end <= min(len(view), limit):
        raise BadFrame(f"The JSON header is said to be {end} bytes of {len(view)}; the limit is {limit}.")
    try:
        head = json.loads(bytes(view[:end]), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise BadFrame(f"The header is not JSON: {error}.") from error
    if not isinstance(head, dict) or not isinstance(head.get("id", ""), str):
        raise BadFrame("The header is not a JSON object with an optional string as id.")
    entries = _objects(head, key)
    rest = view[end:]
    tensors: list[WireTensor] = []
    for entry in entries:
        tensor, rest = _tensor(entry, rest)
        tensors.append(tensor)
    if rest:
        raise BadFrame(f"There are {len(rest)} bytes after the last tensor.")
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise BadFrame("Two tensors have the same name.")
    parameters = _parameters(head)
    wanted: tuple[Wanted, ...] = ()
    if key == "inputs" and "outputs" in head:
        default = parameters.get(BINARY_OUTPUT) is True
        wanted = tuple(_wanted(entry, default=default) for entry in _objects(head, "outputs"))
    return Frame(tuple(tensors), head.get("id", ""), parameters, wanted)


def _no_number(constant: str) -> None:
    """For what Python reads though it is no JSON."""
    raise ValueError(f"{constant} is no JSON number")


def _tensor(entry: Mapping[str, Any], rest: memoryview) -> tuple[WireTensor, memoryview]:
    """The tensor an entry describes, and the bytes that follow it."""
    name, datatype, shape = entry.get("name"), entry.get("datatype"), entry.get("shape")
    if not isinstance(name, str) or not isinstance(datatype, str):
        raise BadFrame("A tensor lacks its name or datatype.")
    if datatype != BYTES and datatype not in NUMPY:
        raise BadFrame(f"Tensor {name!r} has datatype {datatype!r}; use one of {', '.join(NUMPY)} or {BYTES}.")
    if not is_shape(shape):
        raise BadFrame(f"Tensor {name!r} has no shape of at most {MAX_RANK} whole numbers.")
    tensor = WireTensor(name, datatype, tuple(shape), b"", _parameters(entry))
    count = math.prod(shape)
    size = tensor.parameters.get(_SIZE)
    if size is None:
        data = entry.get("data")
        if not isinstance(data, list):
            raise BadFrame(f"Tensor {name!r} has neither {_SIZE} nor a list as data.")
        return replace(tensor, data=from_json(data, datatype, count)), rest
    if type(size) is not int or not 0 <= size <= len(rest):
        raise BadFrame(f"Tensor {name!r} says it has {size!r} bytes, but {len(rest)} follow.")
    if datatype != BYTES and size != count * NUMPY[datatype].itemsize:
        raise BadFrame(f"Tensor {name!r} has {size} bytes, but its shape {shape} of {datatype} needs others.")
    parameters = {key: value for key, value in tensor.parameters.items() if key != _SIZE}
    return replace(tensor, data=rest[:size], parameters=parameters), rest[size:]


def is_shape(shape: object) -> TypeGuard[list[int]]:
    """Whether a value from JSON is a list of whole numbers short and small enough to be a tensor's shape."""
    return (
        isinstance(shape, list) and len(shape) <= MAX_RANK and all(type(n) is int and 0 <= n < 1 << 31 for n in shape)
    )


def _objects(head: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    entries = head.get(key)
    if not isinstance(entries, list) or not 0 < len(entries) <= MAX_TENSORS:
        raise BadFrame(f"The header has no list of 1 to {MAX_TENSORS} {key}.")
    if not all(isinstance(entry, dict) for entry in entries):
        raise BadFrame(f"One of the {key} is not an object.")
    return entries


def _parameters(owner: Mapping[str, Any]) -> dict[str, Any]:
    parameters = owner.get("parameters", {})
    if not isinstance(parameters, dict):
        raise BadFrame("The parameters are not an object.")
    return parameters


def _wanted(entry: Mapping[str, Any], *, default: bool) -> Wanted:
    name, binary = entry.get("name"), _parameters(entry).get("binary_data", default)
    if not isinstance(name, str) or not isinstance(binary, bool):
        raise BadFrame("A wanted output lacks its name, or its binary_data is not true or false.")
    return Wanted(name, binary)
