"""Frames on the wire: Open Inference Protocol v2 over HTTP with Triton's binary tensor extension.

A body is a JSON header followed by the data of its tensors. The HTTP header `Inference-Header-Content-Length` is the
length of the JSON header. A packed tensor is a UINT8 tensor whose parameters are its codec, shape and datatype:

    {"name": "conv/Relu:0", "datatype": "UINT8", "shape": [5211],
     "parameters": {"codec": "int8", "shape": [8, 14, 14, 64], "datatype": "FP32", "binary_data_size": 5211}}

Received numbers are not trusted: sizes are compared with the received data, and no memory is allocated for a size
that is only declared. A malformed body raises InvalidFrame.
https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeGuard

from hybrid_batch.data.errors import InvalidFrame
from hybrid_batch.inference.model.cuts import MAX_TENSORS
from hybrid_batch.inference.model.datatypes import BYTES, NUMPY_DTYPES
from hybrid_batch.inference.protocol.json_head import (
    JsonHead,
    JsonOutput,
    JsonTensor,
    parse_parameters,
    parse_request,
    parse_response,
    parse_shape,
)
from hybrid_batch.inference.protocol.json_tensors import from_json, to_json

HEADER_LENGTH = "Inference-Header-Content-Length"
BINARY_OUTPUT = "binary_data_output"
BUNDLE = "bundle"  # parameter of a frame, attribute of a message: the SHA-256 of the bundle that the client runs
MAX_HEADER_BYTES = 1 << 20
MAX_JSON_BYTES = 1 << 24
JSON_MEMORY = 8  # times its text that a JSON body takes at most while it is decoded
_SMALL_JSON_BYTES = 1 << 16  # of a header whose memory does not count
MAX_RANK = 8
_SIZE = "binary_data_size"
_MAX_DIGITS = 20  # of a 64-bit integer with its sign


@dataclass(frozen=True, slots=True)
class WireTensor:
    """A tensor on the wire. `shape` describes `data`; `parameters` exclude the binary size."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes | memoryview
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """An output that a request names, and whether its data should be binary or JSON."""

    name: str
    binary: bool


@dataclass(frozen=True, slots=True)
class Frame:
    """One request or response. Without `requested_outputs` a request asks for all outputs."""

    tensors: tuple[WireTensor, ...]
    id: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    requested_outputs: tuple[RequestedOutput, ...] = ()


@dataclass(frozen=True, slots=True)
class Body:
    """An HTTP body in pieces. `header_bytes` is the length of the JSON header, None if the body is only JSON."""

    pieces: tuple[bytes | memoryview, ...]
    header_bytes: int | None

    @property
    def size(self) -> int:
        """Bytes of the whole body."""
        return sum(len(piece) for piece in self.pieces)

    @property
    def headers(self) -> dict[str, str]:
        """The HTTP headers of the body."""
        if self.header_bytes is None:
            return {"Content-Type": "application/json"}
        return {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(self.header_bytes)}

    def join(self) -> bytes:
        """Return the body in one piece. This is the only copy of the tensors' data."""
        return b"".join(self.pieces)


def encode_request(frame: Frame) -> Body:
    """Encode a request with binary tensors that asks for binary outputs."""
    head: dict[str, Any] = {"id": frame.id} if frame.id else {}
    head["parameters"] = {**frame.parameters, BINARY_OUTPUT: True}
    return _encode(head, "inputs", frame.tensors, [True] * len(frame.tensors))


def encode_response(frame: Frame, request: Frame, model: str, version: str) -> Body:
    """Encode a response with the outputs that the request names, each binary or JSON as requested; the default is JSON.

    Raises InvalidFrame if the request names an output that the frame lacks."""
    head: dict[str, Any] = {"model_name": model, "model_version": version}
    if request.id:
        head["id"] = request.id
    if frame.parameters:
        head["parameters"] = dict(frame.parameters)
    tensors = {tensor.name: tensor for tensor in frame.tensors}
    default = request.parameters.get(BINARY_OUTPUT) is True
    outputs = request.requested_outputs or tuple(RequestedOutput(name, default) for name in tensors)
    missing = [repr(output.name) for output in outputs if output.name not in tensors]
    if missing:
        raise InvalidFrame(f"No output named {' or '.join(missing)}; the outputs are {', '.join(map(repr, tensors))}.")
    return _encode(head, "outputs", [tensors[output.name] for output in outputs], [output.binary for output in outputs])


def wants_json(request: Frame) -> bool:
    """Whether a request asks for an output as JSON."""
    if request.requested_outputs:
        return not all(output.binary for output in request.requested_outputs)
    return request.parameters.get(BINARY_OUTPUT) is not True


def decode_request(
    body: bytes | memoryview, header_bytes: int | None, reserve: Callable[[int], None] = lambda _: None
) -> Frame:
    """Decode the body of a request. `reserve` is called with the bytes of memory that parsing its JSON takes at most,
    before it is parsed, unless they are few. Raises InvalidFrame, and whatever `reserve` raises."""
    text, data = _split(body, header_bytes)
    if len(text) > _SMALL_JSON_BYTES:
        reserve(len(text) * JSON_MEMORY)
    head = parse_request(text)
    frame = _frame(head, head.tensors, "inputs", data)
    return frame if head.requested is None else _with_outputs(frame, head.requested)


def decode_response(body: bytes | memoryview, header_bytes: int | None) -> Frame:
    """Decode the body of a response. Raises InvalidFrame."""
    text, data = _split(body, header_bytes)
    head = parse_response(text)
    return _frame(head, head.tensors, "outputs", data)


def parse_header_length(text: str | None) -> int | None:
    """Parse the value of `Inference-Header-Content-Length`. Raises InvalidFrame."""
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_HEADER_BYTES))):
        raise InvalidFrame(f"{HEADER_LENGTH} is {text[:40]!r}, not a number of bytes up to {MAX_HEADER_BYTES}.")
    return int(text)


def _encode(head: dict[str, Any], key: str, tensors: Sequence[WireTensor], binary: Sequence[bool]) -> Body:
    entries: list[bytes] = []
    pieces: list[bytes | memoryview] = []
    for tensor, as_binary in zip(tensors, binary, strict=True):
        entry: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
        parameters = dict(tensor.parameters)
        if as_binary:
            parameters[_SIZE] = len(tensor.data)
            pieces.append(tensor.data)
        if parameters:
            entry["parameters"] = parameters
        text = _dump(entry)
        if not as_binary:
            data = to_json(tensor.data, tensor.datatype, math.prod(tensor.shape))
            text = b"".join((text[:-1], b',"data":[', *data, b"]}"))
        entries.append(text)
    blanks = b" " * _padding(head.get("parameters", {}))
    header = b"".join((_dump(head)[:-1], b',"%b":[' % key.encode(), b",".join(entries), b"]}", blanks))
    return Body((header, *pieces), len(header) if pieces else None)


def _dump(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _padding(parameters: Mapping[str, Any]) -> int:
    """Blanks that pad every integer to the longest, so that the size of a frame does not depend on its timings."""
    return sum(_MAX_DIGITS - len(str(value)) for value in parameters.values() if type(value) is int)


def _split(body: bytes | memoryview, header_bytes: int | None) -> tuple[memoryview, memoryview]:
    """The JSON header and the data of its tensors."""
    view = memoryview(body)
    limit = MAX_JSON_BYTES if header_bytes is None else MAX_HEADER_BYTES
    end = len(view) if header_bytes is None else header_bytes
    if not 0 < end <= min(len(view), limit):
        raise InvalidFrame(f"The JSON header is declared as {end} bytes of {len(view)}; the limit is {limit}.")
    return view[:end], view[end:]


def _frame(head: JsonHead, entries: Sequence[JsonTensor], key: str, rest: memoryview) -> Frame:
    """The frame of a header, with the data of its tensors from `rest` or from JSON."""
    _check_count(entries, key)
    tensors: list[WireTensor] = []
    for entry in entries:
        tensor, rest = _tensor(entry, rest)
        tensors.append(tensor)
    if rest:
        raise InvalidFrame(f"The body has {len(rest)} bytes after the last tensor.")
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise InvalidFrame("Two tensors have the same name.")
    return Frame(tuple(tensors), head.id, parse_parameters(head.parameters))


def _tensor(entry: JsonTensor, rest: memoryview) -> tuple[WireTensor, memoryview]:
    """Return the tensor of an entry, and the bytes after its data."""
    name, datatype, shape = entry.name, entry.datatype, parse_shape(entry.shape)
    if datatype != BYTES and datatype not in NUMPY_DTYPES:
        raise InvalidFrame(
            f"Tensor {name!r} has datatype {datatype!r}; use one of {', '.join(NUMPY_DTYPES)} or {BYTES}."
        )
    if not is_shape(shape):
        raise InvalidFrame(f"Tensor {name!r} has no shape of at most {MAX_RANK} non-negative integers.")
    tensor = WireTensor(name, datatype, tuple(shape), b"", parse_parameters(entry.parameters))
    count = math.prod(shape)
    size = tensor.parameters.get(_SIZE)
    if size is None:
        data = bytes(entry.data)
        if not data.startswith(b"["):
            raise InvalidFrame(f"Tensor {name!r} has neither {_SIZE} nor a list as data.")
        return replace(tensor, data=from_json(data, datatype, shape)), rest
    if type(size) is not int or not 0 <= size <= len(rest):
        raise InvalidFrame(f"Tensor {name!r} declares {str(size)[:40]!r} bytes, but {len(rest)} follow.")
    if datatype != BYTES and size != count * NUMPY_DTYPES[datatype].itemsize:
        raise InvalidFrame(f"Tensor {name!r} has {size} bytes, which does not match its shape {shape} of {datatype}.")
    parameters = {key: value for key, value in tensor.parameters.items() if key != _SIZE}
    return replace(tensor, data=rest[:size], parameters=parameters), rest[size:]


def is_shape(shape: object) -> TypeGuard[list[int]]:
    """Whether a JSON value is a tensor's shape: at most MAX_RANK integers from 0 to 2^31 - 1."""
    return (
        isinstance(shape, list) and len(shape) <= MAX_RANK and all(type(n) is int and 0 <= n < 1 << 31 for n in shape)
    )


def _check_count(entries: Sequence[object], key: str) -> None:
    if not 0 < len(entries) <= MAX_TENSORS:
        raise InvalidFrame(f"The header has no list of 1 to {MAX_TENSORS} {key}.")


def _with_outputs(frame: Frame, requested: Sequence[JsonOutput]) -> Frame:
    """The frame with the outputs that its request names."""
    _check_count(requested, "outputs")
    default = frame.parameters.get(BINARY_OUTPUT) is True
    outputs = []
    for entry in requested:
        binary = parse_parameters(entry.parameters).get("binary_data", default)
        if not isinstance(binary, bool):
            raise InvalidFrame("A requested output has a binary_data that is not true or false.")
        outputs.append(RequestedOutput(entry.name, binary))
    if len({output.name for output in outputs}) != len(outputs):
        raise InvalidFrame("The request names an output twice; name each output once.")
    return replace(frame, requested_outputs=tuple(outputs))
