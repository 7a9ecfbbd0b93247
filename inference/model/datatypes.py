"""The Open Inference Protocol's datatypes: their numpy types, BYTES elements, and their JSON form.

Numbers on the wire are little-endian; a BYTES element is its length as four bytes and then itself.
"""

import struct
from collections.abc import Iterable
from typing import Any

import numpy as np

from hybrid_batch.data.errors import BadFrame

BYTES = "BYTES"
NUMPY: dict[str, np.dtype] = {
    "BOOL": np.dtype("?"),
    **{f"INT{8 * size}": np.dtype(f"<i{size}") for size in (1, 2, 4, 8)},
    **{f"UINT{8 * size}": np.dtype(f"<u{size}") for size in (1, 2, 4, 8)},
    **{f"FP{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
}
FLOATS = frozenset({"FP16", "FP32", "FP64"})
_JSON_KINDS = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}
_LENGTH = struct.Struct("<I")


def join_bytes(elements: Iterable[bytes | memoryview]) -> bytes:
    """A BYTES tensor's data."""
    return b"".join(part for element in elements for part in (_LENGTH.pack(len(element)), element))


def split_bytes(data: bytes | memoryview, count: int) -> list[memoryview]:
    """The `count` elements of a BYTES tensor, without a copy. Raises BadFrame unless they fill it exactly."""
    view = memoryview(data)
    if len(view) < count * _LENGTH.size:
        raise BadFrame(f"A BYTES tensor of {len(view)} bytes cannot hold {count} elements.")
    elements, position = [], 0
    for index in range(count):
        start = position + _LENGTH.size
        if start > len(view):
            raise BadFrame(f"A BYTES tensor ends before its element {index} of {count}.")
        position = start + _LENGTH.unpack_from(view, position)[0]
        if position > len(view):
            raise BadFrame(f"Element {index} of a BYTES tensor is longer than the tensor.")
        elements.append(view[start:position])
    if position != len(view):
        raise BadFrame(f"A BYTES tensor has {len(view) - position} bytes after its last element.")
    return elements


def from_json(values: list[Any], datatype: str, count: int) -> bytes:
    """JSON `data`, flat or nested, as the bytes it stands for. Raises BadFrame if they are not `count` values
    of the datatype, each finite."""
    try:
        array = np.asarray(values, dtype=object if datatype == BYTES else None).ravel()
        if len(array) == count and datatype == BYTES:
            return join_bytes(text.encode() for text in array)
        if len(array) == count == 0:
            return b""
        if len(array) == count and array.dtype.kind in _JSON_KINDS[NUMPY[datatype].kind]:
            return _exact(array, NUMPY[datatype]).tobytes()
    except (ValueError, TypeError, OverflowError, AttributeError, RecursionError) as error:
        raise BadFrame(f"JSON data is not {count} values of {datatype}: {error}.") from error
    raise BadFrame(f"JSON data is not {count} values of {datatype}.")


def _exact(array: np.ndarray, wanted: np.dtype) -> np.ndarray:
    with np.errstate(over="ignore"):
        converted = array.astype(wanted)
    if wanted.kind in "iu" and not np.array_equal(converted, array):
        raise OverflowError(f"a value is out of range for {wanted.name}")
    if wanted.kind == "f" and not np.isfinite(converted).all():
        raise OverflowError(f"a value is not finite in {wanted.name}; send such tensors as binary")
    return converted


def to_json(data: bytes | memoryview, datatype: str, count: int) -> list[Any]:
    """A tensor's data as the flat JSON list the protocol allows. Raises BadFrame for numbers that JSON has no words
    for."""
    if datatype == BYTES:
        return [bytes(element).decode(errors="replace") for element in split_bytes(data, count)]
    array = np.frombuffer(data, NUMPY[datatype])
    if datatype in FLOATS and not np.isfinite(array).all():
        raise BadFrame("Not all values are finite, and JSON has no words for the others; ask for binary data.")
    values: list[Any] = array.tolist()
    return values
