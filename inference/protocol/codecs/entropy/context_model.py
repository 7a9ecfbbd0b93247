"""The context model: the contexts of levels and the level frequencies in each. `entropy` has a drawing of the format.

The encoder counts the frequencies in the tensor itself. It chooses the weights and the class of each channel by least
squares, and the numbers of classes and rows for which model and data are smallest together.
"""

from dataclasses import dataclass

import numpy as np

from hybrid_batch.data.errors import InvalidFrame
from hybrid_batch.inference.protocol.codecs.entropy.lanes import Lanes

TOTAL = 256  # of the frequencies in a context
_WEIGHT_TOTAL = 6
# By kind: the weights of the left and the upper neighbour. The mean has the rest.
_KINDS = np.array([(left, up) for left in range(_WEIGHT_TOTAL + 1) for up in range(_WEIGHT_TOTAL + 1 - left)])
_EQUAL_WEIGHTS = next(kind for kind, weights in enumerate(_KINDS.tolist()) if weights == [2, 2])
_CLASS_COUNTS = (4, 2, 1)
_ROW_COUNTS = (48, 24, 16, 12, 8, 6, 4, 3, 2, 1)
_FIRST_FORM = 32  # an older format without weights had forms below 11
_MIN_CHANNEL_LEVELS = 64  # for fewer levels the properties of a channel cost more than they save
_FREQUENCY_BITS = 8  # of one frequency after the caller's compression
# By stored frequency: its part of TOTAL beyond the first 256th, in half octaves.
_EXTRA_PARTS = np.array([0, *(round(256 * (2 ** (half_octave / 2) - 1)) for half_octave in range(17))])


@dataclass(frozen=True, slots=True)
class ContextModel:
    """Means, kinds and classes are (channels); `rows` is the number per class.

    `half_octaves` (contexts, levels) are the stored frequencies."""

    lanes: Lanes
    means: np.ndarray
    kinds: np.ndarray
    classes: np.ndarray
    rows: int
    half_octaves: np.ndarray

    @property
    def frequencies(self) -> np.ndarray:
        """Level frequencies (contexts, levels) that sum to 256 in each context that occurs.

        A level that occurs has at least 1."""
        occurs = self.half_octaves > 0
        parts = _EXTRA_PARTS[self.half_octaves]
        spare = TOTAL - np.count_nonzero(occurs, axis=1, keepdims=True)
        shares: np.ndarray = occurs + parts * spare // np.maximum(parts.sum(axis=1, keepdims=True), 1)
        most_frequent = self.half_octaves.argmax(axis=1)
        shares[np.arange(len(shares)), most_frequent] += occurs.any(axis=1) * (TOTAL - shares.sum(axis=1))
        return shares.astype(np.uint32)

    @property
    def context_of(self) -> np.ndarray:
        """The context of each weighted sum, class after class."""
        span = _span(self.half_octaves.shape[1])
        first = np.arange(len(self.half_octaves) // self.rows)[:, None] * self.rows
        return (first + np.arange(span) * self.rows // span).ravel()

    @property
    def weights(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The weights of the left and the upper neighbour, and the constant of mean and class; all (group, lanes)."""
        left, up = _KINDS[self.kinds].T
        added = (_WEIGHT_TOTAL - left - up) * self.means + self.classes * _span(self.half_octaves.shape[1])
        return self.lanes.expand(left), self.lanes.expand(up), self.lanes.expand(added)

    def to_bytes(self) -> bytes:
        """Encode the model."""
        class_count = len(self.half_octaves) // self.rows
        form = _FIRST_FORM + _ROW_COUNTS.index(self.rows) * len(_CLASS_COUNTS) + _CLASS_COUNTS.index(class_count)
        channels = (self.kinds * _CLASS_COUNTS[0] + self.classes, self.means) if _describes_channels(self.lanes) else ()
        return bytes([form]) + b"".join(part.astype(np.uint8).tobytes() for part in (*channels, self.half_octaves))

    @classmethod
    def from_bytes(cls, lanes: Lanes, model: bytes, count: int) -> "ContextModel":
        """Decode the model of `count` levels in these lanes. Raises InvalidFrame if it is not one."""
        form = divmod(model[0] - _FIRST_FORM, len(_CLASS_COUNTS)) if model else (-1, 0)
        if not 0 <= form[0] < len(_ROW_COUNTS):
            raise InvalidFrame("A quantised tensor has no context model that this version reads.")
        rows, class_count = _ROW_COUNTS[form[0]], _CLASS_COUNTS[form[1]]
        described = lanes.channels if _describes_channels(lanes) else 0
        if len(model) != 1 + 2 * described + rows * class_count * count:
            raise InvalidFrame(f"A quantised tensor's model has {len(model)} bytes, which its shape does not need.")
        numbers = np.frombuffer(model, np.uint8, offset=1)
        kinds, classes = np.divmod(numbers[:described].astype(np.intp), _CLASS_COUNTS[0])
        if described and (kinds.max() >= len(_KINDS) or classes.max() >= class_count):
            raise InvalidFrame("A quantised tensor has a channel of an unknown kind or class.")
        means = np.minimum(numbers[described : 2 * described], count - 1).astype(np.intp)
        half_octaves = numbers[2 * described :].reshape(rows * class_count, count)
        if half_octaves.max() >= len(_EXTRA_PARTS):
            raise InvalidFrame("A quantised tensor has a frequency beyond 256.")
        if not described:
            means, classes = np.zeros((2, lanes.channels), np.intp)
            kinds = np.full(lanes.channels, _EQUAL_WEIGHTS)
        return cls(lanes, means, kinds, classes, rows, half_octaves)


def fit_context_model(
    lanes: Lanes, images: np.ndarray, symbols: np.ndarray, count: int
) -> tuple[ContextModel, np.ndarray]:
    """Return the model for which model and data are smallest together, and the context of each level (steps, lanes).

    `images` are the levels as (batch, height, width, channels), `symbols` the same levels as (steps, lanes)."""
    kinds, classes = np.full(lanes.channels, _EQUAL_WEIGHTS), np.zeros(lanes.channels, np.intp)
    means = np.zeros(lanes.channels, np.intp)
    described = _describes_channels(lanes)
    if described:
        means = np.rint(images.mean(axis=(0, 1, 2))).astype(np.intp)
    left, up = _neighbours(lanes, symbols, lanes.expand(means).astype(np.uint8))
    if described:
        kinds, classes = _choose_kinds(lanes, symbols, left, up, means)
    max_contexts = _ROW_COUNTS[0] * _CLASS_COUNTS[0]
    finest = ContextModel(lanes, means, kinds, classes, _ROW_COUNTS[0], np.zeros((max_contexts, count), np.uint8))
    sums = _weighted_sums(lanes, left, up, finest.weights)
    contexts = finest.context_of.astype(np.uint16).take(sums)
    cells = np.bincount((contexts * np.uint32(count) + symbols).ravel(), minlength=finest.half_octaves.size)
    rows, class_count, counts = _merge(cells.reshape(_CLASS_COUNTS[0], _ROW_COUNTS[0], count).astype(np.float64))
    merged = np.arange(class_count * rows).reshape(class_count, rows)
    merged = merged.repeat(_CLASS_COUNTS[0] // class_count, 0).repeat(_ROW_COUNTS[0] // rows, 1)
    classes = classes * class_count // _CLASS_COUNTS[0]
    chosen = ContextModel(lanes, means, kinds, classes, rows, _to_half_octaves(counts))
    return chosen, merged.astype(np.uint16).ravel().take(contexts)


def max_model_bytes(shape: tuple[int, ...], count: int) -> int:
    """Return the maximum size of the model of a tensor of this shape."""
    lanes = Lanes.of_shape(shape)
    described = lanes.channels if _describes_channels(lanes) else 0
    return 1 + 2 * described + _ROW_COUNTS[0] * _CLASS_COUNTS[0] * count


def _describes_channels(lanes: Lanes) -> bool:
    """Whether the model has means, kinds and classes."""
    return lanes.batch * lanes.height * lanes.width >= _MIN_CHANNEL_LEVELS


def _span(count: int) -> int:
    """The number of weighted sums of `count` levels."""
    return _WEIGHT_TOTAL * (count - 1) + 1


def _neighbours(lanes: Lanes, symbols: np.ndarray, means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The left and the upper neighbour of each level, both (run, group, rows, width, lanes).

    A level with one neighbour has it as both, a level without neighbours its channel's mean."""
    known = symbols.reshape(lanes.run, lanes.group, lanes.rows, lanes.width, lanes.count)
    left, up = np.empty_like(known), np.empty_like(known)
    left[..., 1:, :], up[:, :, 1:] = known[..., :-1, :], known[:, :, :-1]
    left[:, :, 1:, 0], up[:, :, 0, 1:] = up[:, :, 1:, 0], left[:, :, 0, 1:]
    left[:, :, 0, 0], up[:, :, 0, 0] = means, means
    return left, up


def _weighted_sums(
    lanes: Lanes, left: np.ndarray, up: np.ndarray, weights: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> np.ndarray:
    """The weighted sum of each level, (steps, lanes)."""
    left_weights, up_weights, added = (part.astype(np.uint16)[:, None, None] for part in weights)
    sums: np.ndarray = left * left_weights
    sums += up * up_weights
    sums += added
    return sums.reshape(lanes.steps, lanes.count)


def _choose_kinds(
    lanes: Lanes, symbols: np.ndarray, left: np.ndarray, up: np.ndarray, means: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The kind of least squared error of each channel, and its class by the rank of this error; both (channels)."""
    center = lanes.expand(means).astype(np.float32)[:, None, None]
    own, left_, up_ = (part.reshape(left.shape) - center for part in (symbols, left, up))

    def product(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return lanes.sum_by_channel(np.einsum("rghwl,rghwl->gl", one, other))[:, None]

    left_weight, up_weight = _KINDS.T / _WEIGHT_TOTAL
    errors = product(own, own) - 2 * (left_weight * product(own, left_) + up_weight * product(own, up_))
    errors += left_weight**2 * product(left_, left_) + up_weight**2 * product(up_, up_)
    errors += 2 * left_weight * up_weight * product(left_, up_)
    ranks = errors.min(axis=1).argsort(kind="stable").argsort(kind="stable")
    return errors.argmin(axis=1), ranks * _CLASS_COUNTS[0] // lanes.channels


def _merge(counts: np.ndarray) -> tuple[int, int, np.ndarray]:
    """From counts (classes, rows, levels): the best numbers of rows and classes, and their counts (contexts, levels).

    The best numbers need the fewest bits for model and data together."""
    best: tuple[float, int, int, np.ndarray] | None = None
    for class_count in _CLASS_COUNTS:
        by_class = counts.reshape(class_count, -1, *counts.shape[1:]).sum(axis=1)
        for rows in _ROW_COUNTS:
            merged = by_class.reshape(class_count * rows, -1, counts.shape[2]).sum(axis=1)
            present = merged[merged > 0]
            totals = merged.sum(axis=1)
            totals = totals[totals > 0]
            bits = _FREQUENCY_BITS * len(present) + totals @ np.log2(totals) - present @ np.log2(present)
            if best is None or bits < best[0]:
                best = float(bits), rows, class_count, merged
    assert best is not None  # noqa: S101 - _ROW_COUNTS is not empty
    return best[1:]


def _to_half_octaves(counts: np.ndarray) -> np.ndarray:
    """The stored frequencies for counts (contexts, levels)."""
    shares = TOTAL * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return np.where(counts > 0, 1 + np.rint(2 * np.log2(np.maximum(shares, 1))), 0).astype(np.uint8)
