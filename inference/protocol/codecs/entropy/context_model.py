"""What a level is expected to be from the level to its left, the one above and its channel's mean, and how surely.

Each channel has its own weights of the three, and a class by how far they miss. The weighted sum and the class are a
level's context. How often each level follows each context is counted in the tensor itself and told in half octaves.
Reading does without floating point, so that every machine reads what another wrote.

    model    rows and classes (1 byte), of each channel the kind and the mean (1 byte each), frequencies (contexts,
             levels), 1 byte each: 0 for never, else 1 + 2 log2 of its 256ths
"""

from dataclasses import dataclass

import numpy as np

from hybrid_batch.data.errors import BadFrame
from hybrid_batch.inference.protocol.codecs.entropy.lanes import Lanes

WHOLE = 256
_PARTS = 6  # of the weights
_WEIGHTS = np.array([(left, up) for left in range(_PARTS + 1) for up in range(_PARTS + 1 - left)])
_THIRDS = next(kind for kind, weights in enumerate(_WEIGHTS.tolist()) if weights == [2, 2])
_CLASSES = (4, 2, 1)
_ROWS = (48, 24, 16, 12, 8, 6, 4, 3, 2, 1)
_FORM = 32  # the first byte of a model is this or more; it was less than 11 when all channels had the same weights
_FEWEST_TO_TELL = 64  # levels of a channel, below which to tell of it costs more than it saves
_CELL_BITS = 8  # that a frequency takes once compressed
_PARTS_OF = np.array(
    [0, *(round(256 * (2 ** (half / 2) - 1)) for half in range(17))]
)  # beyond one 256th, by half octaves


@dataclass(frozen=True, slots=True)
class Contexts:
    """Of each channel its mean, kind (its weights) and class; the rows of a class, and how often levels follow each
    context, (contexts, levels), in half octaves."""

    lanes: Lanes
    means: np.ndarray
    kinds: np.ndarray
    classes: np.ndarray
    rows: int
    octaves: np.ndarray

    @property
    def frequencies(self) -> np.ndarray:
        """Of the levels in each context (contexts, levels), in 256ths: all or none of them, at least one where any."""
        rare = self.octaves > 0
        parts = _PARTS_OF[self.octaves]
        spare = WHOLE - np.count_nonzero(rare, axis=1, keepdims=True)
        shares: np.ndarray = rare + parts * spare // np.maximum(parts.sum(axis=1, keepdims=True), 1)
        shares[np.arange(len(shares)), self.octaves.argmax(axis=1)] += rare.any(axis=1) * (WHOLE - shares.sum(axis=1))
        return shares.astype(np.uint32)

    @property
    def row_of(self) -> np.ndarray:
        """The context of each weighted sum, class after class."""
        span = _span(self.octaves.shape[1])
        first = np.arange(len(self.octaves) // self.rows)[:, None] * self.rows
        return (first + np.arange(span) * self.rows // span).ravel()

    @property
    def weights(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of the left and the upper neighbour, and what is added, all (group, lanes)."""
        left, up = _WEIGHTS[self.kinds].T
        added = (_PARTS - left - up) * self.means + self.classes * _span(self.octaves.shape[1])
        return self.lanes.spread(left), self.lanes.spread(up), self.lanes.spread(added)

    def to_bytes(self) -> bytes:
        form = _FORM + _ROWS.index(self.rows) * len(_CLASSES) + _CLASSES.index(len(self.octaves) // self.rows)
        told = (self.kinds * _CLASSES[0] + self.classes, self.means) if _is_told(self.lanes) else ()
        return bytes([form]) + b"".join(part.astype(np.uint8).tobytes() for part in (*told, self.octaves))

    @classmethod
    def read(cls, lanes: Lanes, model: bytes, count: int) -> "Contexts":
        """Those that `to_bytes` wrote. Raises BadFrame if they are none of a tensor like this."""
        form = divmod(model[0] - _FORM, len(_CLASSES)) if model else (-1, 0)
        if not 0 <= form[0] < len(_ROWS):
            raise BadFrame("A quantised tensor has no model of its levels that this version reads.")
        rows, classes = _ROWS[form[0]], _CLASSES[form[1]]
        told = lanes.channels if _is_told(lanes) else 0
        if len(model) != 1 + 2 * told + rows * classes * count:
            raise BadFrame(f"A quantised tensor's model has {len(model)} bytes where its shape needs others.")
        numbers = np.frombuffer(model, np.uint8, offset=1)
        kinds, classes_of = np.divmod(numbers[:told].astype(np.intp), _CLASSES[0])
        if told and (kinds.max() >= len(_WEIGHTS) or classes_of.max() >= classes):
            raise BadFrame("A quantised tensor has a channel of a kind that there is not.")
        means = np.minimum(numbers[told : 2 * told], count - 1).astype(np.intp)
        octaves = numbers[2 * told :].reshape(rows * classes, count)
        if octaves.max() >= len(_PARTS_OF):
            raise BadFrame("A quantised tensor has frequencies beyond the whole.")
        if not told:
            means, classes_of = np.zeros((2, lanes.channels), np.intp)
            kinds = np.full(lanes.channels, _THIRDS)
        return cls(lanes, means, kinds, classes_of, rows, octaves)


def choose_contexts(lanes: Lanes, images: np.ndarray, symbols: np.ndarray, count: int) -> tuple[Contexts, np.ndarray]:
    """Those that make model and levels small together, and the context of each level, (steps, lanes). `images` are
    (batch, height, width, channels), `symbols` the same as (steps, lanes)."""
    kinds, classes = np.full(lanes.channels, _THIRDS), np.zeros(lanes.channels, np.intp)
    means = np.zeros(lanes.channels, np.intp)
    if told := _is_told(lanes):
        means = np.rint(images.mean(axis=(0, 1, 2))).astype(np.intp)
    left, up = _neighbours(lanes, symbols, lanes.spread(means).astype(np.uint8))
    if told:
        kinds, classes = _choose_kinds(lanes, symbols, left, up, means)
    finest = Contexts(lanes, means, kinds, classes, _ROWS[0], np.zeros((_ROWS[0] * _CLASSES[0], count), np.uint8))
    sums = _weigh(lanes, left, up, finest.weights)
    contexts = finest.row_of.astype(np.uint16).take(sums)
    cells = np.bincount((contexts * np.uint32(count) + symbols).ravel(), minlength=finest.octaves.size)
    rows, ways, counts = _merge(cells.reshape(_CLASSES[0], _ROWS[0], count).astype(np.float64))
    merged = np.arange(ways * rows).reshape(ways, rows).repeat(_CLASSES[0] // ways, 0).repeat(_ROWS[0] // rows, 1)
    chosen = Contexts(lanes, means, kinds, classes * ways // _CLASSES[0], rows, _octaves(counts))
    return chosen, merged.astype(np.uint16).ravel().take(contexts)


def model_bytes(shape: tuple[int, ...], count: int) -> int:
    """The most that a model of such a tensor has."""
    lanes = Lanes.of(shape)
    return 1 + 2 * (lanes.channels if _is_told(lanes) else 0) + _ROWS[0] * _CLASSES[0] * count


def _is_told(lanes: Lanes) -> bool:
    """Whether means, kinds and classes are; else every channel is like another."""
    return lanes.batch * lanes.height * lanes.width >= _FEWEST_TO_TELL


def _span(count: int) -> int:
    return _PARTS * (count - 1) + 1


def _neighbours(lanes: Lanes, symbols: np.ndarray, means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """To the left and above, (run, group, rows, width, lanes); where there is only one it is both, else the mean."""
    known = symbols.reshape(lanes.run, lanes.group, lanes.rows, lanes.width, lanes.count)
    left, up = np.empty_like(known), np.empty_like(known)
    left[..., 1:, :], up[:, :, 1:] = known[..., :-1, :], known[:, :, :-1]
    left[:, :, 1:, 0], up[:, :, 0, 1:] = up[:, :, 1:, 0], left[:, :, 0, 1:]
    left[:, :, 0, 0], up[:, :, 0, 0] = means, means
    return left, up


def _weigh(lanes: Lanes, left: np.ndarray, up: np.ndarray, weights: tuple[np.ndarray, ...]) -> np.ndarray:
    """The weighted sum of each level, (steps, lanes)."""
    of_left, of_up, added = (part.astype(np.uint16)[:, None, None] for part in weights)
    sums: np.ndarray = left * of_left
    sums += up * of_up
    sums += added
    return sums.reshape(lanes.steps, lanes.count)


def _choose_kinds(
    lanes: Lanes, symbols: np.ndarray, left: np.ndarray, up: np.ndarray, means: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The weights that miss each channel least, by least squares, and its class among the channels by how far."""
    center = lanes.spread(means).astype(np.float32)[:, None, None]
    own, left_, up_ = (part.reshape(left.shape) - center for part in (symbols, left, up))

    def product(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return lanes.gather(np.einsum("rghwl,rghwl->gl", one, other))[:, None]

    of_left, of_up = _WEIGHTS.T / _PARTS
    misses = product(own, own) - 2 * (of_left * product(own, left_) + of_up * product(own, up_))
    misses += of_left**2 * product(left_, left_) + of_up**2 * product(up_, up_)
    misses += 2 * of_left * of_up * product(left_, up_)
    ranks = misses.min(axis=1).argsort(kind="stable").argsort(kind="stable")
    return misses.argmin(axis=1), ranks * _CLASSES[0] // lanes.channels


def _merge(counts: np.ndarray) -> tuple[int, int, np.ndarray]:
    """From counts (classes, rows, levels) the rows and classes for which model and levels take least, and their counts
    (contexts, levels)."""
    best: tuple[float, int, int, np.ndarray] | None = None
    for ways in _CLASSES:
        by_class = counts.reshape(ways, -1, *counts.shape[1:]).sum(axis=1)
        for rows in _ROWS:
            merged = by_class.reshape(ways * rows, -1, counts.shape[2]).sum(axis=1)
            there = merged[merged > 0]
            totals = merged.sum(axis=1)
            totals = totals[totals > 0]
            bits = _CELL_BITS * len(there) + totals @ np.log2(totals) - there @ np.log2(there)
            if best is None or bits < best[0]:
                best = float(bits), rows, ways, merged
    assert best is not None  # noqa: S101 - there are rows
    return best[1:]


def _octaves(counts: np.ndarray) -> np.ndarray:
    """How often in half octaves, for each row of counts."""
    shares = WHOLE * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return np.where(counts > 0, 1 + np.rint(2 * np.log2(np.maximum(shares, 1))), 0).astype(np.uint8)
