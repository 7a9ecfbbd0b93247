"""Error feedback: round the channels of a position one after the other, and add each error to the channels after it.

A model rarely depends on a single channel: the errors of two channels add up in the next layer, or cancel. A metric
(channels, channels) describes this; the harm of errors (channels) is errors · metric · errors. A channel is rounded
not from its own value, but from the value that best compensates the errors of the channels before it (Babai 1986,
Combinatorica 6:1; for weights: Frantar et al., https://arxiv.org/abs/2210.17323). The decoder needs none of this.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_MAX_FEEDBACK = 1.0  # step, so that one value far beyond the grid does not shift all others


@dataclass(frozen=True, slots=True, eq=False)
class ErrorFeedback:
    """`order` is the order of rounding. `weights` (channels, channels), in that order, is strictly lower triangular:
    row by row the weights with which a channel adds the errors of the channels before it."""

    order: tuple[int, ...]
    weights: np.ndarray

    @classmethod
    def from_metric(cls, metric: np.ndarray) -> tuple["ErrorFeedback", np.ndarray]:
        """Derive the feedback from a positive definite metric (channels, channels).

        Also returns the harm (channels) that an error of one in a channel still does with feedback. The channel that
        matters least is rounded first, because the others then compensate it."""
        order = np.argsort(np.diag(metric), kind="stable")
        backwards = order[::-1]
        factor = np.linalg.cholesky(metric[np.ix_(backwards, backwards)])[::-1, ::-1]
        diagonal = np.diag(factor)
        harm = np.empty(len(order))
        harm[order] = diagonal**2
        return cls(tuple(order.tolist()), np.tril(np.round((factor / diagonal).T, 4), -1)), harm

    @classmethod
    def from_dict(cls, stored: Mapping[str, Sequence[Any]]) -> "ErrorFeedback":
        """Read the JSON object of the fields. Raises KeyError, ValueError or TypeError for another object."""
        return cls(tuple(stored["order"]), np.array(stored["weights"]))

    def expected_harm(self, scales: np.ndarray, metric: np.ndarray) -> float:
        """Return the mean harm per position of rounding with these scales (channels), by this metric.

        Values beyond the grid are not counted."""
        order = list(self.order)
        spread = np.linalg.inv(np.eye(len(order)) + self.weights) * scales[order] / np.sqrt(12)
        return float(np.sum(metric[np.ix_(order, order)] * (spread @ spread.T)))

    def quantiser(self, scales: np.ndarray, offsets: np.ndarray, count: int) -> Callable[[np.ndarray], np.ndarray]:
        """Return a function from values (…, channels) to levels, uint8 of the same shape.

        The grid has `count` levels, and `scales` and `offsets` (channels). A decoded value is off by at most one and
        a half steps, or is the nearest end of the grid."""
        order = list(self.order)
        original_order = np.argsort(order)
        scales, offsets = scales[order, None], offsets[order, None].astype(np.float64)
        weights = self.weights * scales.T / scales  # for errors and feedback in steps

        def quantise(values: np.ndarray) -> np.ndarray:
            ideal = values.reshape(-1, len(order)).T[order] / scales - offsets
            errors, levels = np.empty_like(ideal), np.empty_like(ideal)
            for place, (own, error, level) in enumerate(zip(ideal, errors, levels, strict=True)):
                feedback = weights[place, :place] @ errors[:place]
                feedback.clip(-_MAX_FEEDBACK, _MAX_FEEDBACK, out=feedback)
                np.add(own, feedback, out=level)
                np.rint(level, out=level).clip(0, count - 1, out=level)
                np.subtract(own, level, out=error)
            rounded: np.ndarray = levels[original_order].T.astype(np.uint8)
            return rounded.reshape(values.shape)

        return quantise
