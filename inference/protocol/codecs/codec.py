"""The kinds of codecs, and the functions that packed codecs share."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import zstandard

from hybrid_batch.data.errors import InvalidFrame
from hybrid_batch.data.images.decode import Preprocessing
from hybrid_batch.data.images.decoding.pixel_budget import PixelBudget

Pack = Callable[[np.ndarray], bytes]
Unpack = Callable[[bytes | memoryview, tuple[int, ...], np.dtype], np.ndarray]
# Codecs decode bands of about this many values, so that intermediate results stay small and in the processor's cache.
BAND_VALUES = 1 << 16
FIXED_BYTES = 4 << 20  # that decoding a tensor of any shape takes at most beside `peak_bytes`


@dataclass(frozen=True, slots=True)
class NativeCodec:
    """Sends float tensors in a datatype of the protocol, which is `datatype`, or the tensor's own if that is None."""

    datatype: str | None


def intermediate_bytes(shape: tuple[int, ...], dtype: np.dtype) -> int:
    """The peak for a codec that states none: its result and three arrays of doubles."""
    return math.prod(shape) * (dtype.itemsize + 24)


@dataclass(frozen=True, slots=True)
class PackedCodec:
    """Sends float tensors as bytes in a format of its own.

    `pack` encodes a tensor (batch, …, channels). `unpack` decodes it from the bytes, its shape and its dtype, and
    raises InvalidFrame unless the bytes are exactly those of such a tensor. Infinities become finite and NaN 0.

    `peak_bytes` is the largest memory of `unpack` for a shape and dtype, with its result, but without the bytes that it
    decodes and FIXED_BYTES; `weight` is the time for a value in units of a JPEG's pixel, about 5 ns."""

    pack: Pack
    unpack: Unpack
    peak_bytes: Callable[[tuple[int, ...], np.dtype], int] = intermediate_bytes
    weight: int = 8


TensorCodec = NativeCodec | PackedCodec


class Recompress(Protocol):
    """The function of an ImageCodec."""

    def __call__(self, file: bytes, preprocessing: Preprocessing, budget: PixelBudget = ...) -> bytes: ...


@dataclass(frozen=True, slots=True)
class ImageCodec:
    """Sends image files. `recompress` returns the file to send for a file, and raises UndecodableImage."""

    recompress: Recompress


def bands(batch: int, positions: int, channels: int) -> Iterator[tuple[slice, slice]]:
    """Divide (batch, positions, channels) into slices of images and positions with about BAND_VALUES values each."""
    images = max(1, BAND_VALUES // max(1, positions * channels))
    rows = positions if images > 1 else max(1, BAND_VALUES // max(1, channels))
    for image in range(0, batch, images):
        for row in range(0, positions, max(1, rows)):
            yield slice(image, image + images), slice(row, row + rows)


def largest_finite(dtype: np.dtype) -> float:
    """Return the largest value that both float32 and `dtype` can represent."""
    return min(float(np.finfo(dtype).max), float(np.finfo(np.float32).max))


def decompress(data: bytes | memoryview, sizes: range, kind: str) -> bytes:
    """Decompress one zstd frame that declares a size within `sizes`.

    Raises InvalidFrame with the name of the `kind` of data, before it allocates memory for another size."""
    try:
        size = zstandard.get_frame_parameters(data).content_size
        if size not in sizes:
            raise InvalidFrame(f"{kind} declares {size} bytes, which its shape does not need.")
        raw = zstandard.ZstdDecompressor().decompress(data, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise InvalidFrame(f"{kind} is not zstd: {error}.") from error
    if len(raw) != size:
        raise InvalidFrame(f"{kind} has {len(raw)} bytes, not the {size} that it declares.")
    return raw
