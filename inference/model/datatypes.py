"""The datatypes of the Open Inference Protocol: numpy dtypes and BYTES elements.

Numbers are little-endian. A BYTES element is its length in four bytes, followed by its content.
"""

import struct
from collections.abc import Iterable

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
