"""The JSON header of a body, parsed with types: values of tensors stay text, and nothing else may be large."""

from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Raw

from hybrid_batch.data.errors import InvalidFrame, one_line

MAX_PARAMETERS_BYTES = 1 << 16
_MAX_SHAPE_BYTES = 1 << 10
_REASON_CHARACTERS = 200

Head = TypeVar("Head")
Name = Annotated[str, Meta(max_length=1024)]


class JsonTensor(msgspec.Struct, frozen=True, gc=False):
    """An input or output of a header. `shape`, `parameters` and `data` are JSON."""

    name: Name
    datatype: Name
    shape: Raw
    parameters: Raw = Raw(b"{}")
    data: Raw = Raw(b"null")


class JsonOutput(msgspec.Struct, frozen=True, gc=False):
    """An output that a request names."""

    name: Name
    parameters: Raw = Raw(b"{}")


class JsonHead(msgspec.Struct, frozen=True, kw_only=True):
    """What the headers of requests and responses have in common."""

    id: str = ""
    parameters: Raw = Raw(b"{}")


class JsonRequest(JsonHead, frozen=True, kw_only=True):
    """The header of a request: its inputs, and the outputs that it names."""

    tensors: list[JsonTensor] = msgspec.field(name="inputs")
    requested: list[JsonOutput] | None = msgspec.field(name="outputs", default=None)


class JsonResponse(JsonHead, frozen=True, kw_only=True):
    """The header of a response."""

    tensors: list[JsonTensor] = msgspec.field(name="outputs")


_REQUEST, _RESPONSE = msgspec.json.Decoder(JsonRequest), msgspec.json.Decoder(JsonResponse)
_PARAMETERS = msgspec.json.Decoder(dict[str, Any])
_SHAPE = msgspec.json.Decoder(list[int])


def parse_request(text: memoryview) -> JsonRequest:
    """Parse the header of a request. Raises InvalidFrame."""
    return _parse(_REQUEST, text)


def parse_response(text: memoryview) -> JsonResponse:
    """Parse the header of a response. Raises InvalidFrame."""
    return _parse(_RESPONSE, text)


def parse_parameters(text: Raw) -> dict[str, Any]:
    """Parse the parameters of a header or a tensor. Raises InvalidFrame."""
    if len(bytes(text)) > MAX_PARAMETERS_BYTES:
        raise InvalidFrame(f"The parameters have more than the {MAX_PARAMETERS_BYTES} bytes that are read.")
    try:
        return _PARAMETERS.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidFrame(f"The parameters are not an object: {reason(error)}.") from error


def parse_shape(text: Raw) -> list[int] | None:
    """Parse a shape; None if it is not a short list of integers."""
    try:
        return _SHAPE.decode(text) if len(bytes(text)) <= _MAX_SHAPE_BYTES else None
    except (msgspec.DecodeError, UnicodeError):
        return None


def _parse(decoder: msgspec.json.Decoder[Head], text: memoryview) -> Head:
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidFrame(f"The header is not JSON of the protocol: {reason(error)}.") from error


def reason(error: Exception) -> str:
    """Why a JSON text was not read, in at most 200 characters."""
    text = one_line(error)
    if "truncated" in text or "surrogate" in text:  # msgspec has both words for an unpaired surrogate
        text = "it ends too early, or has half of a surrogate pair"
    return text[:_REASON_CHARACTERS]
