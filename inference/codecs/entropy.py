"""Small whole numbers laid out as images, to about as few bytes as they hold information, and back exactly.

Feature maps are smooth, and their channels differ: a level is coded in the context of the sum of the level to its
left, the level above and its channel's mean level. How often each level follows each context is counted in the
tensor itself and sent along, in 256ths. The coder is rANS (Duda, https://arxiv.org/abs/1311.2540), one state a lane
and all lanes side by side in numpy; a lane is a band of a large channel or a group of small ones, some 200 levels.

    model    which divisor of the sum (1 byte), mean level of each channel, frequencies (contexts, levels): all bytes
    coded    state of each lane (2 bytes), then the bytes the lanes take in turn

Reading does without floating point, so that every machine reads what another wrote.
"""

import math
from dataclasses import dataclass

import numpy as np

from data.errors import BadFrame

MAX_LEVELS = 128
_LANE = 196  # levels; shorter lanes take more bytes for their states, longer ones more steps
_FEWEST_FOR_MEANS = 64  # levels of a channel, below which its mean costs more than it saves
_SCALE = 8  # bits of a frequency; a state lies between 2^8 and 2^16, so one byte at most is due at each step
_LEAST_STATE = 1 << 8
_WHOLE = np.uint32(1 << _SCALE)
_DIVISORS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 48, 3 * MAX_LEVELS)


@dataclass(frozen=True, slots=True)
class Entropy:
    """Levels as bytes: what is known about them, not yet compressed, and the levels given that."""

    model: bytes
    coded: bytes


@dataclass(frozen=True, slots=True)
class _Layout:
    """How (batch, height, width, channels) falls into lanes of `group` channels and `rows` rows each."""

    batch: int
    height: int
    width: int
    channels: int
    group: int
    rows: int

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> "_Layout":
        channels = shape[-1] if len(shape) > 1 else 1
        height, width = (shape[1], math.prod(shape[2:-1])) if len(shape) > 2 else (1, 1)
        area = max(1, height * width)
        bands = min(height, area // _LANE) or 1
        return cls(
            shape[0], height, width, channels, max(1, min(channels, _LANE // area)), max(1, math.ceil(height / bands))
        )

    @property
    def grid(self) -> tuple[int, int, int]:
        """Images, groups and bands: the lanes."""
        return self.batch, math.ceil(self.channels / self.group), math.ceil(self.height / self.rows)

    @property
    def lanes(self) -> int:
        return math.prod(self.grid)

    @property
    def steps(self) -> int:
        return self.group * self.rows * self.width

    @property
    def means(self) -> int:
        """Channels whose mean is told."""
        return self.channels if self.batch * self.height * self.width >= _FEWEST_FOR_MEANS else 0

    def to_lanes(self, levels: np.ndarray) -> np.ndarray:
        """(batch, height, width, channels) to (steps, lanes); what fills up the last group and band is zero."""
        batch, groups, bands = self.grid
        room = (batch, bands * self.rows, self.width, groups * self.group)
        padded = np.zeros(room, levels.dtype)
        padded[:, : self.height, :, : self.channels] = levels
        split = padded.reshape(batch, bands, self.rows, self.width, groups, self.group)
        return np.ascontiguousarray(split.transpose(5, 2, 3, 0, 4, 1)).reshape(self.steps, self.lanes)

    def from_lanes(self, lanes: np.ndarray) -> np.ndarray:
        batch, groups, bands = self.grid
        split = lanes.reshape(self.group, self.rows, self.width, batch, groups, bands).transpose(3, 5, 1, 2, 4, 0)
        padded = split.reshape(batch, bands * self.rows, self.width, groups * self.group)
        return padded[:, : self.height, :, : self.channels]

    def mean_of_lanes(self, means: np.ndarray) -> np.ndarray:
        """The mean level of each channel as (group, lanes)."""
        batch, groups, bands = self.grid
        padded = np.zeros(groups * self.group, means.dtype)
        padded[: len(means)] = means
        split = padded.reshape(groups, self.group).T[:, None, :, None]
        return np.broadcast_to(split, (self.group, batch, groups, bands)).reshape(self.group, self.lanes)


def compress(levels: np.ndarray, count: int) -> Entropy:
    """Levels below `count` (2 to 128), uint8 of shape (batch, …, channels), not empty."""
    layout = _Layout.of(levels.shape)
    images = levels.reshape(layout.batch, layout.height, layout.width, layout.channels)
    means = np.rint(images.mean(axis=(0, 1, 2))).astype(np.uint8)[: layout.means]
    symbols = layout.to_lanes(images)
    sums = _sums(layout, symbols, layout.mean_of_lanes(means))
    divisor, frequencies = _choose_contexts(np.bincount((sums * np.uint32(count) + symbols).ravel()), count)
    coded = _encode(symbols, sums // divisor, frequencies)
    return Entropy(bytes([_DIVISORS.index(divisor)]) + means.tobytes() + frequencies.astype(np.uint8).tobytes(), coded)


def expand(entropy: Entropy, shape: tuple[int, ...], count: int) -> np.ndarray:
    """The levels again. Raises BadFrame unless the bytes are exactly those of a tensor of this shape."""
    layout = _Layout.of(shape)
    model = np.frombuffer(entropy.model, np.uint8)
    if not len(model) or model[0] >= len(_DIVISORS):
        raise BadFrame("A quantised tensor has no model of its levels.")
    divisor = _DIVISORS[model[0]]
    contexts = _contexts(divisor, count)
    if len(model) != 1 + layout.means + contexts * count:
        raise BadFrame(f"A quantised tensor's model has {len(model)} bytes where its shape needs others.")
    means = np.minimum(model[1 : 1 + layout.means], count - 1).astype(np.intp)
    frequencies = model[1 + layout.means :].reshape(contexts, count).astype(np.uint32)
    if not np.isin(frequencies.sum(axis=1), (0, 1 << _SCALE)).all():
        raise BadFrame("A quantised tensor has frequencies that are no parts of 256.")
    return layout.from_lanes(_decode(layout, entropy.coded, layout.mean_of_lanes(means), frequencies, divisor)).reshape(
        shape
    )


def model_bytes(shape: tuple[int, ...], count: int) -> int:
    """The most that a model of such a tensor has."""
    return 1 + _Layout.of(shape).means + _contexts(1, count) * count


def _contexts(divisor: int, count: int) -> int:
    return 3 * (count - 1) // divisor + 1


def _sums(layout: _Layout, symbols: np.ndarray, means: np.ndarray) -> np.ndarray:
    """The sum that each level is coded in the context of, (steps, lanes)."""
    shape = (layout.group, layout.rows, layout.width, layout.lanes)
    known = symbols.reshape(shape).astype(np.uint32)
    mean = means[:, None, :]
    sums = np.empty(shape, np.uint32)
    sums[:, 1:, 1:] = known[:, 1:, :-1] + known[:, :-1, 1:]
    sums[:, 1:, 0] = 2 * known[:, :-1, 0]
    sums[:, 0, 1:] = 2 * known[:, 0, :-1]
    sums[:, 0, 0] = 2 * mean[:, 0]
    sums += mean[:, None]
    return sums.reshape(layout.steps, layout.lanes)


def _choose_contexts(counts: np.ndarray, count: int) -> tuple[int, np.ndarray]:
    """The divisor that makes model and levels smallest together, and its frequencies (contexts, count)."""
    table = np.zeros((_contexts(1, count), count))
    table.reshape(-1)[: len(counts)] = counts
    best: tuple[float, int, np.ndarray] | None = None
    for divisor in _DIVISORS:
        merged = np.add.reduceat(table, np.arange(0, len(table), divisor), axis=0)
        frequencies = _frequencies(merged)
        bits = 6 * np.count_nonzero(frequencies) - (merged * np.log2(np.maximum(frequencies, 1) / 256)).sum()
        if best is None or bits < best[0]:
            best = bits, divisor, frequencies
    assert best is not None  # noqa: S101 - there are divisors
    return best[1], best[2]


def _frequencies(counts: np.ndarray) -> np.ndarray:
    """256ths for each row of counts, at least one where there was any, never all: 256 would not fit a byte."""
    counts = counts.copy()
    total = counts.sum(axis=1)
    alone = np.flatnonzero(np.count_nonzero(counts, axis=1) == 1)
    counts[alone, (counts[alone].argmax(axis=1) == 0).astype(int)] = 1e-9
    spare = 256 - np.count_nonzero(counts, axis=1, keepdims=True)
    shares: np.ndarray = (counts > 0) + np.floor(counts * spare / np.maximum(total, 1)[:, None])
    shares[np.arange(len(shares)), counts.argmax(axis=1)] += np.where(total > 0, 256 - shares.sum(axis=1), 0)
    return shares.astype(np.uint32)


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
        state += quotient * (_WHOLE - size)
        state += first
    return state.astype("<u2").tobytes() + np.concatenate(given[::-1]).astype(np.uint8).tobytes()


def _decode(
    layout: _Layout, coded: bytes | memoryview, means: np.ndarray, frequencies: np.ndarray, divisor: int
) -> np.ndarray:
    """Levels as (steps, lanes), each read in the context of those before it."""
    lanes, width = layout.lanes, layout.width
    size = len(coded) - 2 * lanes
    if size < 0:
        raise BadFrame(f"A quantised tensor has {len(coded)} bytes for the states of {lanes} lanes.")
    state = np.frombuffer(coded, "<u2", lanes).astype(np.intp)
    rest = np.zeros(size + lanes, np.intp)
    rest[:size] = np.frombuffer(coded, np.uint8, offset=2 * lanes)
    symbol_of, size_of, bias_of = _slots(frequencies)
    row_of = np.arange(3 * frequencies.shape[1]) // divisor << _SCALE
    levels = np.empty((layout.steps, lanes), np.intp)
    position = 0
    for step in range(layout.steps):
        row, column = divmod(step, width)
        mean = means[row // layout.rows]
        if column:
            context = levels[step - 1] + levels[step - width if row % layout.rows else step - 1]
        else:
            context = 2 * (levels[step - width] if row % layout.rows else mean)
        context += mean
        slot = row_of.take(context)
        slot += state & 255
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
    filled[filled.sum(axis=1) == 0, 0] = 1 << _SCALE  # a context that never comes
    flat = filled.ravel().astype(np.intp)
    owner = np.repeat(np.arange(flat.size), flat)
    start = np.cumsum(flat) - flat
    inside = np.arange(owner.size) - start[owner]
    return owner % filled.shape[1], flat[owner], inside
