"""Tensor data as JSON: parsed against the declared shape and datatype, in memory bounded by the text.

Brackets and commas are compared with those that the shape requires before a value is parsed, and numbers are converted
in pieces. So a list of other values, of another length or with other brackets allocates no array.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from math import prod
from typing import Any

import msgspec
import numpy as np

from hybrid_batch.data.errors import InvalidFrame
from hybrid_batch.inference.model.datatypes import BYTES, FLOAT_DATATYPES, NUMPY_DTYPES, join_bytes, split_bytes

MAX_TEXTS = 1 << 14  # elements of a BYTES tensor in JSON; a text takes up to 25 times its JSON as a Python object
_PIECE_BYTES = 1 << 18  # of JSON that is parsed at once; a list of numbers takes up to 16 times its text
_PIECE_VALUES = 1 << 14  # that are converted to JSON at once, about 10 ms
_BLANKS = b" \t\r\n"
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
# The characters of values, and the type that msgspec checks, by the kind of the numpy dtype.
_VALUES: dict[str, tuple[bytes, type]] = {
    "b": (b"truefals", list[bool]),
    "i": (b"0123456789-", list[int]),
    "u": (b"0123456789", list[int]),
    "f": (b"0123456789+-.eE", list[float]),
}


def from_json(text: bytes, datatype: str, shape: Sequence[int]) -> bytes | memoryview:
    """Convert a JSON list to the data of a tensor; it is flat, or nested like the shape.

    Raises InvalidFrame unless the list has exactly the finite values of the datatype that the shape requires."""
    count = prod(shape)
    try:
        if datatype == BYTES:
            return _texts(text, count, shape)
        return _numbers(text, NUMPY_DTYPES[datatype], count, shape)
    except (msgspec.DecodeError, ValueError, OverflowError) as error:
        raise InvalidFrame(f"JSON data is not {count} values of {datatype}: {error}.") from error


def to_json(data: bytes | memoryview, datatype: str, count: int) -> list[bytes]:
    """Convert the data of a tensor to the elements of a flat JSON list, in pieces of text without the brackets: other
    threads run between the pieces. Raises InvalidFrame for NaN and infinities."""
    if datatype == BYTES:
        texts = [bytes(element).decode(errors="replace") for element in split_bytes(data, count)]
        return [_elements(texts)] if texts else []
    array = np.frombuffer(data, NUMPY_DTYPES[datatype])
    if datatype in FLOAT_DATATYPES and not np.isfinite(array).all():
        raise InvalidFrame("A tensor has values that are not finite, which JSON cannot represent; request binary data.")
    starts = range(0, len(array), _PIECE_VALUES)
    pieces = (_elements(array[start : start + _PIECE_VALUES].tolist()) for start in starts)
    return [(b"," if start else b"") + piece for start, piece in zip(starts, pieces, strict=True)]


def _elements(values: list[Any]) -> bytes:
    return json.dumps(values, separators=(",", ":"))[1:-1].encode()


def _texts(text: bytes, count: int, shape: Sequence[int]) -> bytes:
    if count > MAX_TEXTS:
        raise ValueError(f"JSON carries at most {MAX_TEXTS} texts; send more as binary")
    strings = [match[0] for match in islice(_STRING.finditer(text), count + 1)]
    if len(strings) != count:
        raise ValueError("the list has another number of texts")
    _check_brackets(_STRING.sub(b"", text).translate(None, _BLANKS), count, shape)
    elements = (msgspec.json.decode(string, type=str).encode() for string in strings)
    return join_bytes(elements)


def _numbers(text: bytes, dtype: np.dtype, count: int, shape: Sequence[int]) -> memoryview:
    characters, kind = _VALUES[dtype.kind]
    _check_brackets(text.translate(None, characters + _BLANKS), count, shape)
    array = np.empty(count, dtype)
    filled = 0
    for piece in _pieces(text.translate(None, b"[]" + _BLANKS) if count else b""):
        values: list[float] = msgspec.json.decode(b"[%b]" % piece, type=kind)
        array[filled : filled + len(values)] = _convert_exactly(values, dtype)
        filled += len(values)
    return array.view(np.uint8).data


def _check_brackets(found: bytes, count: int, shape: Sequence[int]) -> None:
    """Raises ValueError unless the brackets and commas of a list are those of a flat list or of the shape."""
    if found not in (_brackets((count,), len(found)), _brackets(shape, len(found))):
        raise ValueError("the list has other values, or is neither flat nor nested like the shape")


def _brackets(shape: Sequence[int], limit: int) -> bytes | None:
    """The brackets and commas of a list of this shape; None if there are more than `limit`."""
    text = b""
    for size in reversed(shape or (1,)):
        if size * (len(text) + 1) - (size > 0) + 2 > limit:
            return None
        text = b"[%b]" % ((text + b",") * size)[:-1]
    return text


def _pieces(numbers: bytes) -> Iterator[bytes]:
    """Divide numbers with commas between them into pieces of about _PIECE_BYTES."""
    start = 0
    while start < len(numbers):
        end = numbers.find(b",", start + _PIECE_BYTES)
        end = len(numbers) if end < 0 else end
        yield numbers[start:end]
        start = end + 1


def _convert_exactly(values: Sequence[float], dtype: np.dtype) -> np.ndarray:
    """Convert without changing an integer or losing a finite value. Raises OverflowError."""
    if dtype.kind in "iu" and not _is_within(values, np.iinfo(dtype)):
        raise OverflowError(f"a value is out of range for {dtype.name}")
    with np.errstate(over="ignore"):
        converted = np.array(values, dtype)
    if dtype.kind == "f" and not np.isfinite(converted).all():
        raise OverflowError(f"a value is not finite in {dtype.name}; send such tensors as binary")
    return converted


def _is_within(values: Iterable[float], limits: np.iinfo) -> bool:
    return all(limits.min <= value <= limits.max for value in values)
