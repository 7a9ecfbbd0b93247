"""The datatypes of the Open Inference Protocol: numpy dtypes, BYTES elements and the JSON form.

Numbers are little-endian. A BYTES element is its length in four bytes, followed by its content.
"""

import struct
from collections.abc import Iterable
from typing import Any

import numpy as np

from hybrid_batch.data.errors import InvalidFrame

BYTES = "BYTES"
NUMPY_DTYPES: dict[str, np.dtype] = {
    "BOOL": np.dtype("?"),
    **{f"INT{8 * size}": np.dtype(f"<i{size}") for size in (1, 2, 4, 8)},
    **{f"UINT{8 * size}": np.dtype(f"<u{size}") for size in (1, 2, 4, 8)},
    **{f"FP{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
}
FLOAT_DATATYPES = frozenset({"FP16", "FP32", "FP64"})
# The kinds of numpy arrays that JSON values may have, by the kind of the datatype.
_JSON_KINDS = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}
_LENGTH = struct.Struct("<I")


def join_bytes(elements: Iterable[bytes | memoryview]) -> bytes:
    """Return the data of a BYTES tensor with these elements."""
    return b"".join(part for element in elements for part in (_LENGTH.pack(len(element)), element))


def split_bytes(data: bytes | memoryview, count: int) -> list[memoryview]:
    """Return the `count` elements of a BYTES tensor as views of `data`.

    Raises InvalidFrame unless they fill `data` exactly."""
    view = memoryview(data)
    if len(view) < count * _LENGTH.size:
        raise InvalidFrame(f"A BYTES tensor of {len(view)} bytes cannot hold {count} elements.")
    elements, position = [], 0
    for index in range(count):
        start = position + _LENGTH.size
        if start > len(view):
            raise InvalidFrame(f"A BYTES tensor ends before its element {index} of {count}.")
        position = start + _LENGTH.unpack_from(view, position)[0]
        if position > len(view):
            raise InvalidFrame(f"Element {index} of a BYTES tensor is longer than the tensor.")
        elements.append(view[start:position])
    if position != len(view):
        raise InvalidFrame(f"A BYTES tensor has {len(view) - position} bytes after its last element.")
    return elements


def from_json(values: list[Any], datatype: str, count: int) -> bytes:
    """Convert JSON `data`, flat or nested, to the data of a tensor.

    Raises InvalidFrame unless `values` are `count` finite values of the datatype."""
    try:
        array = np.asarray(values, dtype=object if datatype == BYTES else None).ravel()
        if len(array) == count and datatype == BYTES:
            return join_bytes(text.encode() for text in array)
        if len(array) == count == 0:
            return b""
        if len(array) == count and array.dtype.kind in _JSON_KINDS[NUMPY_DTYPES[datatype].kind]:
            return _convert_exactly(array, NUMPY_DTYPES[datatype]).tobytes()
    except (ValueError, TypeError, OverflowError, AttributeError, RecursionError) as error:
        raise InvalidFrame(f"JSON data is not {count} values of {datatype}: {error}.") from error
    raise InvalidFrame(f"JSON data is not {count} values of {datatype}.")


def _convert_exactly(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Convert without changing an integer or losing a finite value. Raises OverflowError."""
    with np.errstate(over="ignore"):
        converted = array.astype(dtype)
    if dtype.kind in "iu" and not np.array_equal(converted, array):
        raise OverflowError(f"a value is out of range for {dtype.name}")
    if dtype.kind == "f" and not np.isfinite(converted).all():
        raise OverflowError(f"a value is not finite in {dtype.name}; send such tensors as binary")
    return converted


def to_json(data: bytes | memoryview, datatype: str, count: int) -> list[Any]:
    """Convert the data of a tensor to a flat JSON list. Raises InvalidFrame for NaN and infinities."""
    if datatype == BYTES:
        return [bytes(element).decode(errors="replace") for element in split_bytes(data, count)]
    array = np.frombuffer(data, NUMPY_DTYPES[datatype])
    if datatype in FLOAT_DATATYPES and not np.isfinite(array).all():
        raise InvalidFrame("A tensor has values that are not finite, which JSON cannot represent; request binary data.")
    values: list[Any] = array.tolist()
    return values
