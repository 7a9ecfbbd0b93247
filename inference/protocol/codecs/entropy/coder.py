"""The coder: levels to bytes and back by rANS with one state per lane. `entropy` has a drawing of the format."""

from dataclasses import dataclass

import numpy as np

from hybrid_batch.data.errors import InvalidFrame
from hybrid_batch.inference.protocol.codecs.entropy.context_model import TOTAL, ContextModel, fit_context_model
from hybrid_batch.inference.protocol.codecs.entropy.lanes import Lanes

MAX_LEVELS = 128
_TOTAL_BITS = TOTAL.bit_length() - 1
_MIN_STATE = 1 << 8  # a state is from 2^8 to 2^16 - 1, so that a step reads or writes at most one byte


@dataclass(frozen=True, slots=True)
class CodedLevels:
    """Levels as bytes: their context model, which compresses further, and the data."""

    model: bytes
    data: bytes | memoryview


def encode_levels(levels: np.ndarray, count: int) -> CodedLevels:
    """Encode levels below `count` (2 to 128), uint8 (batch, …, channels), not empty."""
    lanes = Lanes.of_shape(levels.shape)
    images = levels.reshape(lanes.batch, lanes.height, lanes.width, lanes.channels)
    symbols = lanes.split(images)
    model, contexts = fit_context_model(lanes, images, symbols, count)
    return CodedLevels(model.to_bytes(), _encode(symbols, contexts, model.frequencies))


def decode_levels(coded: CodedLevels, shape: tuple[int, ...], count: int) -> np.ndarray:
    """Decode levels of this shape. Raises InvalidFrame unless the bytes are exactly those of such levels."""
    lanes = Lanes.of_shape(shape)
    symbols = _decode(lanes, coded.data, ContextModel.from_bytes(lanes, coded.model, count))
    return lanes.join(symbols).reshape(shape)


def _encode(symbols: np.ndarray, contexts: np.ndarray, frequencies: np.ndarray) -> bytes:
    """Encode levels and their contexts, both (steps, lanes), from the last step to the first."""
    starts = np.cumsum(frequencies, axis=1, dtype=np.uint32) - frequencies
    cells = contexts * np.uint32(frequencies.shape[1]) + symbols
    sizes, firsts = frequencies.ravel().take(cells), starts.ravel().take(cells)
    state = np.full(symbols.shape[1], _MIN_STATE, np.uint32)
    written: list[np.ndarray] = []
    for size, first, limit in zip(sizes[::-1], firsts[::-1], (sizes << _TOTAL_BITS)[::-1], strict=True):
        full = state >= limit
        written.append(state[full])
        state >>= full * np.uint8(8)
        quotient = state // size
        state += quotient * (np.uint32(TOTAL) - size)
        state += first
    return state.astype("<u2").tobytes() + np.concatenate(written[::-1]).astype(np.uint8).tobytes()


def _decode(lanes: Lanes, data: bytes | memoryview, model: ContextModel) -> np.ndarray:
    """Decode levels (steps, lanes), each in the context of those before it."""
    width = lanes.width
    size = len(data) - 2 * lanes.count
    if size < 0:
        raise InvalidFrame(f"A quantised tensor has {len(data)} bytes for the states of {lanes.count} lanes.")
    state = np.frombuffer(data, "<u2", lanes.count).astype(np.int32)
    rest = np.frombuffer(data, np.uint8, offset=2 * lanes.count)
    symbol_of, size_of, bias_of = _slot_tables(model.frequencies)
    first_slot_of = model.context_of << _TOTAL_BITS
    left_weights, up_weights, added = (part.astype(np.int16) for part in model.weights)
    means = lanes.expand(model.means).astype(np.uint8)
    levels = np.empty((lanes.steps, lanes.count), np.uint8)
    slot = np.empty(lanes.count, np.intp)
    position = 0
    for step in range(lanes.steps):
        row, column = divmod(step, width)
        channel = row // lanes.rows % lanes.group
        above = levels[step - width] if row % lanes.rows else None
        left = levels[step - 1] if column else means[channel] if above is None else above
        weighted_sum = left_weights[channel] * left
        weighted_sum += up_weights[channel] * (left if above is None else above)
        weighted_sum += added[channel]
        first_slot_of.take(weighted_sum, out=slot, mode="clip")
        slot += state & np.int32(TOTAL - 1)
        symbol_of.take(slot, out=levels[step], mode="clip")
        state >>= _TOTAL_BITS
        state *= size_of.take(slot)
        state += bias_of.take(slot)
        low = (state < _MIN_STATE).nonzero()[0]
        start, position = position, position + len(low)
        if position > size:
            raise InvalidFrame("A quantised tensor ends before its last level.")
        state[low] = state.take(low) << 8 | rest[start:position]
    if position != size or (state != _MIN_STATE).any():
        raise InvalidFrame("A quantised tensor does not end with its last level.")
    return levels


def _slot_tables(frequencies: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of the 256 slots of each context: its level, the level's frequency, and the slot's position in it."""
    filled = frequencies.copy()
    filled[filled.sum(axis=1) == 0, 0] = TOTAL  # a context that does not occur
    flat = filled.ravel().astype(np.intp)
    owner = np.repeat(np.arange(flat.size), flat)
    start = np.cumsum(flat) - flat
    inside = np.arange(owner.size) - start[owner]
    sizes = flat[owner].astype(np.int32)
    return (owner % filled.shape[1]).astype(np.uint8), sizes, inside.astype(np.int32)


def decoding_bytes(shape: tuple[int, ...]) -> int:
    """The largest memory of `decode_levels` for a shape, without the bytes that it decodes: the levels, their copy in
    the order of the tensor, the weights, and what one step needs. The tables of the context model have a fixed size."""
    lanes = Lanes.of_shape(shape)
    weights = lanes.group * lanes.count
    return 2 * lanes.steps * lanes.count + 48 * weights + 64 * lanes.count
