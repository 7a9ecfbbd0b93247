"""`calibrated-ID`: the grids that a calibration found for the tensors of a cut, stored in the user's cache by ID.

    value = (level + offset) · scale

A grid has a scale and an offset for each channel and is equal for all images. A decoded value is off by at most half
a step of its channel, or by one and a half with error feedback. A frame carries the grid, so that a tail needs no
calibration: its head (see `quantised`) begins with

    count       1 byte     levels per channel
    base        <f4
    exponents   1 byte     of each channel: scale = base · 2^(exponent / 8)
    offsets     <i2        of each channel
"""

import hashlib
import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np

from hybrid_batch.data.errors import InvalidFrame, WrongUsage
from hybrid_batch.inference.model.cache import cache_folder, write_cache_file
from hybrid_batch.inference.model.cuts import TensorSpec
from hybrid_batch.inference.protocol.codecs import CALIBRATED
from hybrid_batch.inference.protocol.codecs.codec import NativeCodec, PackedCodec, TensorCodec
from hybrid_batch.inference.protocol.codecs.entropy.coder import MAX_LEVELS, decode_levels, encode_levels
from hybrid_batch.inference.protocol.codecs.entropy.context_model import max_model_bytes
from hybrid_batch.inference.protocol.codecs.error_feedback import ErrorFeedback
from hybrid_batch.inference.protocol.codecs.quantised import (
    dequantise,
    join,
    peak_bytes,
    split,
    to_finite,
    unpack_empty,
)

_STEPS_PER_OCTAVE = 8
_HEAD = struct.Struct("<Bf")


@dataclass(frozen=True, slots=True)
class Grid:
    """`count` levels for each channel; `exponents` and `offsets` are (channels). Only the encoder uses `feedback`."""

    count: int
    base: float
    exponents: tuple[int, ...]
    offsets: tuple[int, ...]
    feedback: ErrorFeedback | None = None

    @classmethod
    def covering(
        cls, scales: np.ndarray, lows: np.ndarray, highs: np.ndarray, feedback: ErrorFeedback | None = None
    ) -> "Grid":
        """Return a grid of nearly these scales that covers `lows` to `highs`, all (channels).

        It has at most 128 levels; a channel that needs more keeps the middle of its range."""
        base = float(np.float32(scales.min()))
        exponents = np.clip(np.rint(np.log2(scales / base) * _STEPS_PER_OCTAVE), 0, 255).astype(int)
        scales = base * np.exp2(exponents / _STEPS_PER_OCTAVE)
        first, last = np.rint(lows / scales), np.rint(highs / scales)
        count = int(np.clip((last - first).max() + 1, 2, MAX_LEVELS))
        offsets = np.where(last - first < count, first, np.rint((first + last - count + 1) / 2))
        offsets = np.clip(offsets, -(2**15), 2**15 - 1).astype(int)
        return cls(count, base, tuple(exponents.tolist()), tuple(offsets.tolist()), feedback)

    @property
    def scales(self) -> np.ndarray:
        """The scale of each channel, float64 (channels)."""
        return self.base * np.exp2(np.array(self.exponents) / _STEPS_PER_OCTAVE)


def pack(tensor: np.ndarray, grid: Grid) -> bytes:
    """Encode floats (batch, …, channels) on a grid."""
    if not tensor.size:
        return b""
    levels = np.empty(tensor.shape, np.uint8)
    quantise = _quantiser(grid)
    for index, image in enumerate(tensor):
        levels[index] = quantise(to_finite(image)).reshape(image.shape)
    head = _HEAD.pack(grid.count, grid.base) + bytes(grid.exponents) + np.array(grid.offsets, "<i2").tobytes()
    return join(head, encode_levels(levels, grid.count))


def unpack(data: bytes | memoryview, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Decode a tensor of this shape and dtype. Raises InvalidFrame unless the bytes are exactly those of one."""
    if not math.prod(shape):
        return unpack_empty(data, shape, dtype)
    channels = shape[-1] if len(shape) > 1 else 1
    start = _HEAD.size
    head, coded = split(data, start + 3 * channels, max_model_bytes(shape, MAX_LEVELS))
    count, base = _HEAD.unpack_from(head)
    if not 2 <= count <= MAX_LEVELS:
        raise InvalidFrame(f"A quantised tensor has {count} levels, which is not from 2 to {MAX_LEVELS}.")
    scales = base * np.exp2(np.frombuffer(head, np.uint8, channels, start) / _STEPS_PER_OCTAVE)
    offsets = np.frombuffer(head, "<i2", channels, start + channels)
    return dequantise(decode_levels(coded, shape, count), offsets, scales, dtype)


def _pack_nothing(tensor: np.ndarray) -> bytes:
    raise TypeError(f"A tensor {tensor.shape} is encoded with a grid.")


DECODER = PackedCodec(_pack_nothing, unpack, peak_bytes)


def _quantiser(grid: Grid) -> Callable[[np.ndarray], np.ndarray]:
    """The function from the values of an image to its levels."""
    if grid.feedback:
        return grid.feedback.quantiser(grid.scales, np.array(grid.offsets), grid.count)
    inverse, offsets = 1 / grid.scales, np.array(grid.offsets)
    return lambda values: np.clip(np.rint(values * inverse) - offsets, 0, grid.count - 1)


def save_grids(grids: Mapping[str, Grid]) -> str:
    """Store grids by tensor name in the user's cache, and return the name of their codec. Raises StorageFailed."""
    text = json.dumps({name: asdict(grid) for name, grid in sorted(grids.items())}, default=np.ndarray.tolist)
    codec = f"{CALIBRATED}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    write_cache_file(cache_folder("grids") / f"{codec}.json", text)
    return codec


def is_cached(codec: str) -> bool:
    """Whether the grids of a calibrated codec are in this user's cache, undamaged."""
    try:
        _read(str(cache_folder("grids")), codec)
    except WrongUsage:
        return False
    return True


def read_grids(codec: str, boundary: Sequence[TensorSpec]) -> list[Grid | None]:
    """Return the grid of each tensor of a boundary, None for integers.

    Raises WrongUsage if the codec is not in the cache, or is calibrated for another cut."""
    grids = _read_once(str(cache_folder("grids")), codec)
    channels = {spec.name: (spec.shape or (1,))[-1] for spec in boundary}
    if {name: len(grid.offsets) for name, grid in grids.items()}.items() - channels.items():
        raise WrongUsage(f"The codec {codec} was calibrated for another cut; use --codec auto.")
    return [grids.get(spec.name) for spec in boundary]


def open_codecs(codec: str, boundary: Sequence[TensorSpec]) -> list[TensorCodec]:
    """Return the codec of each tensor of a boundary. Raises WrongUsage as `read_grids` does."""
    return [
        PackedCodec(partial(pack, grid=grid), unpack, peak_bytes) if grid else NativeCodec(None)
        for grid in read_grids(codec, boundary)
    ]


def _read(folder: str, codec: str) -> dict[str, Grid]:
    try:
        with open(f"{folder}/{codec}.json", encoding="utf-8") as file:  # noqa: PTH123
            stored = json.load(file)
        return {name: _grid(**fields) for name, fields in stored.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WrongUsage(f"No calibration {codec} in this user's cache; use --codec auto to make one.") from error


_read_once = lru_cache(maxsize=64)(_read)


def _grid(count: int, base: float, exponents: list[int], offsets: list[int], feedback: dict[str, Any] | None) -> Grid:
    return Grid(count, base, tuple(exponents), tuple(offsets), ErrorFeedback.from_dict(feedback) if feedback else None)
