"""`int8`: every channel of every image scaled to 0…255 between its own least and greatest value, then zstd.

A packed tensor is zstd of: the least values, the greatest values (float32, (batch, channels)), the levels
(uint8, channels first). A value comes back within half a step, (greatest - least) / 510, and rounding to its
own dtype; the least and the greatest come back exactly, and so do constants. NaN becomes 0; infinities, and
doubles beyond float32, become the largest finite values.
"""

import math

import numpy as np
import zstandard

from hybrid_batch.data.errors import BadFrame

_LEVELS = 255
_ZSTD_LEVEL = 1
# With fewer positions the ranges of channels would take a quarter of the levels' bytes: one range per image then.
_FEWEST_POSITIONS = 32


def pack(tensor: np.ndarray) -> bytes:
    """Floats of shape (batch, …, channels) as bytes."""
    shape = tensor.shape
    channels, positions = _layout(shape)
    images = tensor.reshape(shape[0], positions, channels)
    ranges = np.zeros((2, shape[0], channels), "<f4")
    levels = np.empty((shape[0], channels, positions), np.uint8)
    if images.size:
        for index, image in enumerate(images):  # one at a time: it stays in the processor's cache
            _pack_image(image, ranges[:, index], levels[index])
    return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(ranges.tobytes() + levels.tobytes())


def unpack(data: bytes | memoryview, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """The tensor again. Raises BadFrame unless the bytes are exactly those of a tensor of this shape."""
    channels, positions = _layout(shape)
    batch = shape[0]
    split = 2 * batch * channels * 4
    raw = _decompress(data, split + batch * channels * positions)
    ranges = np.frombuffer(raw, "<f4", 2 * batch * channels).reshape(2, batch, channels, 1)
    if not (np.abs(ranges) <= _largest(dtype)).all():
        raise BadFrame("An int8 tensor has a range beyond its datatype's finite values.")
    low, high = ranges.astype(np.float64)
    levels = np.frombuffer(raw, np.uint8, offset=split).reshape(batch, channels, positions)
    steps = (high - low) / _LEVELS
    images = np.empty((batch, positions, channels), dtype)
    for index in range(batch):
        images[index] = (levels[index] * steps[index] + low[index]).T
    return images.reshape(shape)


def _layout(shape: tuple[int, ...]) -> tuple[int, int]:
    """Channels with a range of their own, and the positions each has."""
    channels = shape[-1] if len(shape) > 1 else 1
    positions = math.prod(shape[1:-1])
    return (channels, positions) if positions >= _FEWEST_POSITIONS else (1, positions * channels)


def _largest(dtype: np.dtype) -> float:
    return min(float(np.finfo(dtype).max), float(np.finfo(np.float32).max))


def _pack_image(image: np.ndarray, ranges: np.ndarray, levels: np.ndarray) -> None:
    low, high = image.min(axis=0), image.max(axis=0)
    if image.dtype.itemsize > 4 or not (np.isfinite(low).all() and np.isfinite(high).all()):
        limit = _largest(image.dtype)
        doubles = np.nan_to_num(image.astype(np.float64), posinf=limit, neginf=-limit)
        image = np.clip(doubles, -limit, limit).astype(np.float32)
        low, high = image.min(axis=0), image.max(axis=0)
    ranges[0], ranges[1] = low, high
    # In double precision neither a range of both extremes overflows nor one of two denormals vanishes.
    span = high.astype(np.float64) - low
    scale = np.divide(_LEVELS, span, out=np.zeros_like(span), where=span > 0)
    levels[:] = np.rint((image - low.astype(np.float64)) * scale).T


def _decompress(data: bytes | memoryview, size: int) -> bytes:
    """What zstd makes of data, refused unless its frame declares exactly this size (so that nothing larger is
    ever allocated) and nothing follows it."""
    try:
        if zstandard.get_frame_parameters(data).content_size != size:
            raise BadFrame(f"An int8 tensor does not declare the {size} bytes its shape needs.")
        raw = zstandard.ZstdDecompressor().decompress(data, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise BadFrame(f"An int8 tensor is not zstd: {error}.") from error
    if len(raw) != size:
        raise BadFrame(f"An int8 tensor has {len(raw)} bytes where its shape needs {size}.")
    return raw
