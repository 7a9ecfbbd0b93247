"""Small whole numbers laid out as images, to about as few bytes as they hold information, and back exactly.

Feature maps are smooth, and their channels differ: a level is coded in the context of its neighbours and its channel
(`contexts`). The coder is rANS (Duda, https://arxiv.org/abs/1311.2540), one state a lane and all lanes side by side
in numpy.

    model    what is known of the levels
    coded    state of each lane (2 bytes), then the bytes the lanes take in turn
"""

from dataclasses import dataclass

import numpy as np

from hybrid_batch.data.errors import BadFrame
from hybrid_batch.inference.protocol.codecs.entropy.context_model import WHOLE, Contexts, choose_contexts
from hybrid_batch.inference.protocol.codecs.entropy.lanes import Lanes

MAX_LEVELS = 128
_SCALE = WHOLE.bit_length() - 1  # bits of a frequency; a state lies between 2^8 and 2^16: a byte at most at each step
_LEAST_STATE = 1 << 8


@dataclass(frozen=True, slots=True)
class Entropy:
    """Levels as bytes: what is known about them, not yet compressed, and the levels given that."""

    model: bytes
    coded: bytes


def compress(levels: np.ndarray, count: int) -> Entropy:
    """Levels below `count` (2 to 128), uint8 of shape (batch, …, channels), not empty."""
    lanes = Lanes.of(levels.shape)
    images = levels.reshape(lanes.batch, lanes.height, lanes.width, lanes.channels)
    symbols = lanes.split(images)
    contexts, rows = choose_contexts(lanes, images, symbols, count)
    return Entropy(contexts.to_bytes(), _encode(symbols, rows, contexts.frequencies))


def expand(entropy: Entropy, shape: tuple[int, ...], count: int) -> np.ndarray:
    """The levels again. Raises BadFrame unless the bytes are exactly those of a tensor of this shape."""
    lanes = Lanes.of(shape)
    levels = _decode(lanes, entropy.coded, Contexts.read(lanes, entropy.model, count))
    return lanes.join(levels).reshape(shape)


def _encode(symbols: np.ndarray, contexts: np.ndarray, frequencies: np.ndarray) -> bytes:
    starts = np.cumsum(frequencies, axis=1, dtype=np.uint32) - frequencies
    cells = contexts * np.uint32(frequencies.shape[1]) + symbols
    sizes, firsts = frequencies.ravel().take(cells), starts.ravel().take(cells)
    state = np.full(symbols.shape[1], _LEAST_STATE, np.uint32)
    given: list[np.ndarray] = []
    for size, first, limit in zip(sizes[::-1], firsts[::-1], (sizes << _SCALE)[::-1], strict=True):
        full = state >= limit
        given.append(state[full])
        state >>= full * np.uint8(8)
        quotient = state // size
        state += quotient * (np.uint32(WHOLE) - size)
        state += first
    return state.astype("<u2").tobytes() + np.concatenate(given[::-1]).astype(np.uint8).tobytes()


def _decode(lanes: Lanes, coded: bytes | memoryview, contexts: Contexts) -> np.ndarray:
    """Levels as (steps, lanes), each read in the context of those before it."""
    width = lanes.width
    size = len(coded) - 2 * lanes.count
    if size < 0:
        raise BadFrame(f"A quantised tensor has {len(coded)} bytes for the states of {lanes.count} lanes.")
    state = np.frombuffer(coded, "<u2", lanes.count).astype(np.intp)
    rest = np.zeros(size + lanes.count, np.intp)
    rest[:size] = np.frombuffer(coded, np.uint8, offset=2 * lanes.count)
    symbol_of, size_of, bias_of = _slots(contexts.frequencies)
    slot_of = contexts.row_of << _SCALE
    of_left, of_up, added = contexts.weights
    means = lanes.spread(contexts.means)
    levels = np.empty((lanes.steps, lanes.count), np.intp)
    slot = np.empty(lanes.count, np.intp)
    position = 0
    for step in range(lanes.steps):
        row, column = divmod(step, width)
        channel = row // lanes.rows % lanes.group
        above = levels[step - width] if row % lanes.rows else None
        left = levels[step - 1] if column else means[channel] if above is None else above
        context = of_left[channel] * left
        context += of_up[channel] * (left if above is None else above)
        context += added[channel]
        slot_of.take(context, out=slot, mode="clip")
        slot += state & (WHOLE - 1)
        symbol_of.take(slot, out=levels[step], mode="clip")
        state >>= _SCALE
        state *= size_of.take(slot)
        state += bias_of.take(slot)
        low = (state < _LEAST_STATE).nonzero()[0]
        state[low] = state.take(low) << 8 | rest[position : position + len(low)]
        position += len(low)
        if position > size:
            raise BadFrame("A quantised tensor ends before its last level.")
    if position != size or (state != _LEAST_STATE).any():
        raise BadFrame("A quantised tensor does not end with its last level.")
    return levels.astype(np.uint8)


def _slots(frequencies: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For every context and 256th: the level, its frequency, and how far into the level's share this one is."""
    filled = frequencies.copy()
    filled[filled.sum(axis=1) == 0, 0] = WHOLE  # a context that never comes
    flat = filled.ravel().astype(np.intp)
    owner = np.repeat(np.arange(flat.size), flat)
    start = np.cumsum(flat) - flat
    inside = np.arange(owner.size) - start[owner]
    return owner % filled.shape[1], flat[owner], inside
