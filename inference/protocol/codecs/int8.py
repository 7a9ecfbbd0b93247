"""`int8`: each channel of each image on 256 levels between its own minimum and maximum, then zstd.

A packed tensor is the zstd frame of

    minima, maxima   float32 (batch, channels) each
    levels           uint8 (batch, channels, positions)

An image with fewer than 32 positions has one range for all its channels. A decoded value is off by at most half a
step, (maximum - minimum) / 510, and the rounding to its dtype. The minimum, the maximum and constants are exact. NaN
becomes 0; infinities, and doubles beyond float32, become the largest finite values.
"""

import math

import numpy as np
import zstandard

from hybrid_batch.data.errors import InvalidFrame
from hybrid_batch.inference.protocol.codecs.codec import PackedCodec, bands, decompress, largest_finite

_MAX_LEVEL = 255
_ZSTD_LEVEL = 1
# For fewer positions the ranges of channels would take a quarter of the bytes of the levels.
_MIN_POSITIONS = 32


def open_codec(name: str) -> PackedCodec:
    """Return the codec `int8`."""
    del name
    return PackedCodec(pack, unpack, peak_bytes, weight=1)


def pack(tensor: np.ndarray) -> bytes:
    """Encode floats (batch, …, channels)."""
    shape = tensor.shape
    channels, positions = _layout(shape)
    images = tensor.reshape(shape[0], positions, channels)
    ranges = np.zeros((2, shape[0], channels), "<f4")
    levels = np.empty((shape[0], channels, positions), np.uint8)
    if images.size:
        for index, image in enumerate(images):  # one at a time, so that it stays in the processor's cache
            _quantise_image(image, ranges[:, index], levels[index])
    return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(ranges.tobytes() + levels.tobytes())


def unpack(data: bytes | memoryview, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Decode a tensor of this shape and dtype. Raises InvalidFrame unless the bytes are exactly those of one."""
    channels, positions = _layout(shape)
    batch = shape[0]
    split = 2 * batch * channels * 4
    size = split + batch * channels * positions
    raw = decompress(data, range(size, size + 1), "An int8 tensor")
    ranges = np.frombuffer(raw, "<f4", 2 * batch * channels).reshape(2, batch, channels, 1)
    if not (np.abs(ranges) <= largest_finite(dtype)).all():
        raise InvalidFrame("An int8 tensor has a range beyond its datatype's finite values.")
    low, high = ranges.astype(np.float64)
    levels = np.frombuffer(raw, np.uint8, offset=split).reshape(batch, channels, positions)
    steps = (high - low) / _MAX_LEVEL
    images = np.empty((batch, positions, channels), dtype)
    for some, rows in bands(batch, positions, channels):
        values = levels[some, :, rows] * steps[some]
        values += low[some]
        images[some, rows] = values.transpose(0, 2, 1)
    return images.reshape(shape)


def peak_bytes(shape: tuple[int, ...], dtype: np.dtype) -> int:
    """See PackedCodec: the result, the levels, and ranges in two precisions with their differences."""
    channels, _ = _layout(shape)
    return math.prod(shape) * (dtype.itemsize + 1) + shape[0] * channels * 48


def _layout(shape: tuple[int, ...]) -> tuple[int, int]:
    """The number of channels that have a range, and of positions in each."""
    channels = shape[-1] if len(shape) > 1 else 1
    positions = math.prod(shape[1:-1])
    return (channels, positions) if positions >= _MIN_POSITIONS else (1, positions * channels)


def _quantise_image(image: np.ndarray, ranges: np.ndarray, levels: np.ndarray) -> None:
    """Write the ranges (2, channels) and levels (channels, positions) of an image (positions, channels)."""
    low, high = image.min(axis=0), image.max(axis=0)
    if image.dtype.itemsize > 4 or not (np.isfinite(low).all() and np.isfinite(high).all()):
        limit = largest_finite(image.dtype)
        doubles = np.nan_to_num(image.astype(np.float64), posinf=limit, neginf=-limit)
        image = np.clip(doubles, -limit, limit).astype(np.float32)
        low, high = image.min(axis=0), image.max(axis=0)
    ranges[0], ranges[1] = low, high
    # In float32 a range of both extremes would overflow, and a range of two denormals would vanish.
    span = high.astype(np.float64) - low
    scale = np.divide(_MAX_LEVEL, span, out=np.zeros_like(span), where=span > 0)
    levels[:] = np.rint((image - low.astype(np.float64)) * scale).T
