"""`q2` … `q6`: each image of a batch on 2^N levels of its own, entropy coded.

    value = (level + offset) · scale

The levels span the image's values, or the clip that is best for a Laplace distribution of its mean and deviation if
the values reach further (Banner et al., https://arxiv.org/abs/1810.05723). Zero is always a level. A decoded value is
off by at most half a step from the value, or from the nearest end of the clip; NaN becomes 0.

    bytes of head   u4
    head            zstd of: scale (<f4) of each image, offset (<i4) of each image, context model
    coded levels

The layout of head and coded levels is shared with `calibrated`; `entropy` has the context model and the coded levels.
"""

import math
import struct
from functools import partial

import numpy as np
import zstandard

from hybrid_batch.data.errors import InvalidFrame
from hybrid_batch.inference.protocol.codecs.codec import PackedCodec, bands, decompress, largest_finite
from hybrid_batch.inference.protocol.codecs.entropy.coder import (
    CodedLevels,
    decode_levels,
    decoding_bytes,
    encode_levels,
)
from hybrid_batch.inference.protocol.codecs.entropy.context_model import max_model_bytes

# Half the clip in standard deviations, by bits: Banner et al. give 2.83 to 7.41 of a Laplace's scale.
_CLIP = {2: 2.0, 3: 2.75, 4: 3.56, 5: 4.38, 6: 5.24}
BITS = tuple(_CLIP)
_MIN_RELATIVE_SCALE = 2.0**-24  # a step that is smaller against the values is beyond float32
_HEAD_SIZE = struct.Struct("<I")
_HEAD_LEVEL = 9  # of zstd; 0.02 ms more than level 3 for a head that is 2 % smaller


def open_codec(name: str) -> PackedCodec:
    """Return the codec `qN` for N bits from 2 to 6."""
    bits = int(name.removeprefix("q"))
    return PackedCodec(partial(pack, bits=bits), partial(unpack, bits=bits), peak_bytes)


def pack(tensor: np.ndarray, bits: int) -> bytes:
    """Encode floats (batch, …)."""
    if not tensor.size:
        return b""
    scales, offsets = np.empty(len(tensor), "<f4"), np.empty(len(tensor), "<i4")
    levels = np.empty(tensor.shape, np.uint8)
    for index, image in enumerate(tensor):  # one at a time, because images must not affect each other
        values = to_finite(image)
        scale, offset = _choose_scale(values, bits)
        scales[index], offsets[index] = scale, offset
        levels[index] = np.clip(np.rint(values / scale) - offset, 0, 2**bits - 1)
    return join(scales.tobytes() + offsets.tobytes(), encode_levels(levels, 1 << bits))


def unpack(data: bytes | memoryview, shape: tuple[int, ...], dtype: np.dtype, bits: int) -> np.ndarray:
    """Decode a tensor of this shape and dtype. Raises InvalidFrame unless the bytes are exactly those of one."""
    if not math.prod(shape):
        return unpack_empty(data, shape, dtype)
    batch, count = shape[0], 1 << bits
    grid, coded = split(data, 8 * batch, max_model_bytes(shape, count))
    scales = np.frombuffer(grid, "<f4", batch)
    offsets = np.frombuffer(grid, "<i4", batch, 4 * batch)
    levels = decode_levels(coded, shape, count)
    return dequantise(levels, offsets.reshape(batch, 1, 1), scales.reshape(batch, 1, 1), dtype)


def peak_bytes(shape: tuple[int, ...], dtype: np.dtype) -> int:
    """See PackedCodec: the levels while they are decoded, or the levels and the result."""
    head = 48 * shape[0] + 64 * (shape[-1] if len(shape) > 1 else 1)
    return head + max(decoding_bytes(shape), math.prod(shape) * (dtype.itemsize + 2))


def _choose_scale(values: np.ndarray, bits: int) -> tuple[float, int]:
    """The scale and offset for an image's values."""
    mean, reach = float(values.mean()), _CLIP[bits] * float(values.std())
    low, high = max(float(values.min()), mean - reach), min(float(values.max()), mean + reach)
    if not low < high:
        low = high = float(values.flat[0])
        return (float(np.float32(abs(low))), int(np.sign(low))) if low else (1.0, 0)
    # 2^N - 2 steps, because rounding both ends to the grid may take one level more than the span has.
    scale = max(
        (high - low) / ((1 << bits) - 2),
        abs(mean) * _MIN_RELATIVE_SCALE,
        float(np.finfo(np.float32).smallest_subnormal),
    )
    scale = float(np.float32(scale))
    return scale, round(low / scale)


def to_finite(image: np.ndarray) -> np.ndarray:
    """Convert to float64 with values that float32 can represent: NaN to 0, infinities to the largest."""
    values = image.astype(np.float64)
    if image.dtype.itemsize > 4 or not np.isfinite(image).all():
        limit = float(np.finfo(np.float32).max)
        values = np.clip(np.nan_to_num(values, posinf=limit, neginf=-limit), -limit, limit)
        values = values.astype(np.float32).astype(np.float64)
    return values


def dequantise(levels: np.ndarray, offsets: np.ndarray, scales: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return (levels + offsets) · scales of levels (batch, …, channels), clipped to the finite values of `dtype`.

    Offsets and scales are (channels), or (batch, 1, 1). Raises InvalidFrame."""
    if not (np.isfinite(scales) & (scales > 0)).all():
        raise InvalidFrame("A quantised tensor has a scale that is not a positive number.")
    limit = largest_finite(dtype)
    shape, doubles = levels.shape, offsets.astype(np.float64)
    batch, channels = shape[0], shape[-1] if len(shape) > 1 else 1
    levels = levels.reshape(batch, -1, channels)
    result = np.empty(levels.shape, dtype)
    for some, rows in bands(*levels.shape):
        own = some if scales.ndim > 1 else slice(None)
        values: np.ndarray = (levels[some, rows] + doubles[own]) * scales[own]
        result[some, rows] = np.clip(values, -limit, limit, out=values)
    return result.reshape(shape)


def join(grid: bytes, coded: CodedLevels) -> bytes:
    """Join scales and offsets, the context model and the coded levels to the bytes of a tensor."""
    head = zstandard.ZstdCompressor(level=_HEAD_LEVEL).compress(grid + coded.model)
    return _HEAD_SIZE.pack(len(head)) + head + coded.data


def split(data: bytes | memoryview, grid_bytes: int, model_bytes: int) -> tuple[bytes, CodedLevels]:
    """Undo `join`; `model_bytes` is the maximum for the tensor's shape.

    Raises InvalidFrame, before decompression, for a head of another size than the shape can need."""
    view = memoryview(data)
    end = _HEAD_SIZE.size + (_HEAD_SIZE.unpack_from(view)[0] if len(view) >= _HEAD_SIZE.size else len(view))
    if end > len(view):
        raise InvalidFrame(f"A quantised tensor of {len(view)} bytes ends within its head.")
    sizes = range(grid_bytes + 1, grid_bytes + model_bytes + 1)
    head = decompress(view[_HEAD_SIZE.size : end], sizes, "A quantised tensor's head")
    return head[:grid_bytes], CodedLevels(head[grid_bytes:], view[end:])


def unpack_empty(data: bytes | memoryview, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Decode a tensor without values. Raises InvalidFrame if there are bytes."""
    if len(data):
        raise InvalidFrame(f"A quantised tensor without values has {len(data)} bytes.")
    return np.zeros(shape, dtype)
