"""`q2` … `q6` and `tuned`: values rounded to a grid of few levels, then entropy coded.

`qN` gives every image of a batch its own 2^N levels. They span the image's values, or where those reach further the
clip that is best for a Laplace distribution of its mean and deviation (Banner et al., https://arxiv.org/abs/1810.05723).
`tuned` has a step for each channel and is the same for all images: a `Grid` found by calibration. Zero is always a
level. Values inside the clip come back within half a step, or one and a half where errors are carried from channel to
channel, others as its nearest end; NaN becomes 0.

    <u4 size of head, head, coded levels>      head: zstd of grid and model
    grid of qN:    step (<f4) of each image, first level in steps (<i4) of each image
    grid of tuned: levels (1 byte), base (<f4), step of each channel in eighths of an octave above base (1 byte),
                   first level of each channel in steps (<i2)
"""

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import zstandard

from hybrid_batch.data.errors import BadFrame
from hybrid_batch.inference.protocol.codecs.entropy.context_model import model_bytes
from hybrid_batch.inference.protocol.codecs.entropy.entropy import MAX_LEVELS, Entropy, compress, expand
from hybrid_batch.inference.protocol.codecs.error_feedback import Carry

BITS = range(2, 7)
# Half the clip in standard deviations for 2 to 6 bits: Banner et al. give 2.83 to 7.41 of a Laplace's scale.
_CLIP = {2: 2.0, 3: 2.75, 4: 3.56, 5: 4.38, 6: 5.24}
_OCTAVE = 8
_FINEST = 2.0**-24  # a step this much smaller than the values is beyond float32
_HEAD = struct.Struct("<I")
_HEAD_LEVEL = 9  # zstd; 0.02 ms more than 3 for a head 2 % smaller


@dataclass(frozen=True, slots=True)
class Grid:
    """Levels for every channel: `count` of them from `floors` (channels) on, in steps of base · 2^(exponents/8); how
    errors are carried from channel to channel concerns the writer only."""

    count: int
    base: float
    exponents: tuple[int, ...]
    floors: tuple[int, ...]
    carry: Carry | None = None

    @classmethod
    def around(cls, steps: np.ndarray, lows: np.ndarray, highs: np.ndarray, carry: Carry | None = None) -> "Grid":
        """Nearly these steps, from low to high for each channel; at most 128 levels, around the middle."""
        base = float(np.float32(steps.min()))
        exponents = np.clip(np.rint(np.log2(steps / base) * _OCTAVE), 0, 255).astype(int)
        steps = base * np.exp2(exponents / _OCTAVE)
        first, last = np.rint(lows / steps), np.rint(highs / steps)
        count = int(np.clip((last - first).max() + 1, 2, MAX_LEVELS))
        floors = np.where(last - first < count, first, np.rint((first + last - count + 1) / 2))
        floors = np.clip(floors, -(2**15), 2**15 - 1).astype(int)
        return cls(count, base, tuple(exponents.tolist()), tuple(floors.tolist()), carry)

    @property
    def steps(self) -> np.ndarray:
        """Of each channel, float64."""
        return self.base * np.exp2(np.array(self.exponents) / _OCTAVE)


def pack(tensor: np.ndarray, bits: int) -> bytes:
    """Floats of shape (batch, …) as bytes under q`bits`."""
    if not tensor.size:
        return b""
    steps, floors = np.empty(len(tensor), "<f4"), np.empty(len(tensor), "<i4")
    levels = np.empty(tensor.shape, np.uint8)
    for index, image in enumerate(tensor):  # one at a time, so that its company changes nothing
        values = _finite(image)
        step, floor = _own_grid(values, bits)
        steps[index], floors[index] = step, floor
        levels[index] = np.clip(np.rint(values / step) - floor, 0, 2**bits - 1)
    return _join(steps.tobytes() + floors.tobytes(), compress(levels, 1 << bits))


def unpack(data: bytes | memoryview, shape: tuple[int, ...], dtype: np.dtype, bits: int) -> np.ndarray:
    """The tensor again. Raises BadFrame unless the bytes are exactly those of a tensor of this shape."""
    if not math.prod(shape):
        return _nothing(data, shape, dtype)
    batch, count = shape[0], 1 << bits
    grid, entropy = _split(data, 8 * batch, model_bytes(shape, count))
    steps = np.frombuffer(grid, "<f4", batch)
    floors = np.frombuffer(grid, "<i4", batch, 4 * batch)
    alone = (batch, *[1] * (len(shape) - 1))
    return _values(expand(entropy, shape, count), floors.reshape(alone), steps.reshape(alone), dtype)


def pack_tuned(tensor: np.ndarray, grid: Grid) -> bytes:
    """Floats of shape (batch, …, channels) as bytes on a grid."""
    if not tensor.size:
        return b""
    levels = np.empty(tensor.shape, np.uint8)
    rounding = _rounding(grid)
    for index, image in enumerate(tensor):
        levels[index] = rounding(_finite(image))
    head = struct.pack("<Bf", grid.count, grid.base) + bytes(grid.exponents)
    return _join(head + np.array(grid.floors, "<i2").tobytes(), compress(levels, grid.count))


def unpack_tuned(data: bytes | memoryview, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """The tensor again. Raises BadFrame unless the bytes are exactly those of a tensor of this shape."""
    if not math.prod(shape):
        return _nothing(data, shape, dtype)
    channels = shape[-1] if len(shape) > 1 else 1
    size = 5 + 3 * channels
    head, entropy = _split(data, size, model_bytes(shape, MAX_LEVELS))
    count, base = struct.unpack_from("<Bf", head)
    if not 2 <= count <= MAX_LEVELS:
        raise BadFrame(f"A quantised tensor has {count} levels; they are 2 to {MAX_LEVELS}.")
    steps = base * np.exp2(np.frombuffer(head, np.uint8, channels, 5) / _OCTAVE)
    return _values(expand(entropy, shape, count), np.frombuffer(head, "<i2", channels, 5 + channels), steps, dtype)


def _rounding(grid: Grid) -> Callable[[np.ndarray], np.ndarray]:
    """From the values of an image to its levels."""
    if grid.carry:
        return grid.carry.rounding(grid.steps, np.array(grid.floors), grid.count)
    inverse, floors = 1 / grid.steps, np.array(grid.floors)
    return lambda values: np.clip(np.rint(values * inverse) - floors, 0, grid.count - 1)


def _own_grid(values: np.ndarray, bits: int) -> tuple[float, int]:
    """Step and first level of an image's values."""
    mean, reach = float(values.mean()), _CLIP[bits] * float(values.std())
    low, high = max(float(values.min()), mean - reach), min(float(values.max()), mean + reach)
    if not low < high:
        low = high = float(values.flat[0])
        return (float(np.float32(abs(low))), int(np.sign(low))) if low else (1.0, 0)
    # Rounding both ends to the grid may take one level more than the span has.
    step = max((high - low) / ((1 << bits) - 2), abs(mean) * _FINEST, float(np.finfo(np.float32).smallest_subnormal))
    step = float(np.float32(step))
    return step, round(low / step)


def _finite(image: np.ndarray) -> np.ndarray:
    """As float64, of numbers that float32 holds."""
    values = image.astype(np.float64)
    if image.dtype.itemsize > 4 or not np.isfinite(image).all():
        limit = float(np.finfo(np.float32).max)
        values = np.clip(np.nan_to_num(values, posinf=limit, neginf=-limit), -limit, limit)
        values = values.astype(np.float32).astype(np.float64)
    return values


def _values(levels: np.ndarray, floors: np.ndarray, steps: np.ndarray, dtype: np.dtype) -> np.ndarray:
    limit = min(float(np.finfo(dtype).max), float(np.finfo(np.float32).max))
    if not (np.isfinite(steps) & (steps > 0)).all():
        raise BadFrame("A quantised tensor has a step that is no positive number.")
    values: np.ndarray = (levels + floors.astype(np.float64)) * steps
    np.clip(values, -limit, limit, out=values)
    return values.astype(dtype, copy=False)


def _join(grid: bytes, entropy: Entropy) -> bytes:
    head = zstandard.ZstdCompressor(level=_HEAD_LEVEL).compress(grid + entropy.model)
    return _HEAD.pack(len(head)) + head + entropy.coded


def _split(data: bytes | memoryview, grid_bytes: int, most_model_bytes: int) -> tuple[bytes, Entropy]:
    """The grid, and the levels; refused unless the head declares what the shape can need, before it is unpacked."""
    view = memoryview(data)
    end = _HEAD.size + (_HEAD.unpack_from(view)[0] if len(view) >= _HEAD.size else len(view))
    if end > len(view):
        raise BadFrame(f"A quantised tensor of {len(view)} bytes ends within its head.")
    try:
        size = zstandard.get_frame_parameters(view[_HEAD.size : end]).content_size
        if not grid_bytes < size <= grid_bytes + most_model_bytes:
            raise BadFrame(f"A quantised tensor's head declares {size} bytes, which its shape does not need.")
        head = zstandard.ZstdDecompressor().decompress(view[_HEAD.size : end], allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise BadFrame(f"A quantised tensor's head is not zstd: {error}.") from error
    if len(head) != size:
        raise BadFrame(f"A quantised tensor's head has {len(head)} bytes, not the {size} it declares.")
    return head[:grid_bytes], Entropy(head[grid_bytes:], bytes(view[end:]))


def _nothing(data: bytes | memoryview, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    if len(data):
        raise BadFrame(f"A quantised tensor without values has {len(data)} bytes.")
    return np.zeros(shape, dtype)
