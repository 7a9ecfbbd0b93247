"""Rounding one channel after the other, each error carried into the channels after it, where it does the least harm.

What a model minds is rarely a channel by itself: errors of two channels add up in what follows, or cancel. With the
metric of that, errors · metric · errors being the harm, a channel is rounded not from its own value but from the
one that makes up best for the errors of those before it (Babai 1986, Combinatorica 6:1; of weights: Frantar et al.,
https://arxiv.org/abs/2210.17323). The reader sees levels like any others.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_MOST = 1.0  # step carried into a value, so that one far out of reach does not drag all others along


@dataclass(frozen=True, slots=True, eq=False)
class Carry:
    """The channels in the order of their rounding, and what share of the errors before it each takes: (channels,
    channels), strictly lower triangular, both sides in that order."""

    order: tuple[int, ...]
    shares: np.ndarray

    @classmethod
    def of(cls, metric: np.ndarray) -> tuple["Carry", np.ndarray]:
        """Of a positive definite metric (channels, channels); and the harm that remains of a channel's own rounding,
        (channels), for an error of one. What matters least is rounded first: the others make up for it."""
        order = np.argsort(np.diag(metric), kind="stable")
        backwards = order[::-1]
        factor = np.linalg.cholesky(metric[np.ix_(backwards, backwards)])[::-1, ::-1]
        diagonal = np.diag(factor)
        harm = np.empty(len(order))
        harm[order] = diagonal**2
        return cls(tuple(order.tolist()), np.tril(np.round((factor / diagonal).T, 4), -1)), harm

    def expect(self, steps: np.ndarray, metric: np.ndarray) -> float:
        """The harm by a metric, of a position on average, of rounding with these steps (channels) within reach."""
        order = list(self.order)
        spread = np.linalg.inv(np.eye(len(order)) + self.shares) * steps[order] / np.sqrt(12)
        return float(np.sum(metric[np.ix_(order, order)] * (spread @ spread.T)))

    def rounding(self, steps: np.ndarray, floors: np.ndarray, count: int) -> Callable[[np.ndarray], np.ndarray]:
        """From values (…, channels) to levels as uint8, on the grid of `count` levels from `floors` on in `steps`, both
        (channels). A value comes within a step and a half, or to the nearest end."""
        order = list(self.order)
        back = np.argsort(order)
        steps, floors = steps[order, None], floors[order, None].astype(np.float64)
        shares = self.shares * steps.T / steps  # of errors in steps, to steps

        def round_values(values: np.ndarray) -> np.ndarray:
            wanted = values.reshape(-1, len(order)).T[order] / steps - floors
            errors, levels = np.empty_like(wanted), np.empty_like(wanted)
            for place, (own, error, level) in enumerate(zip(wanted, errors, levels, strict=True)):
                carried = shares[place, :place] @ errors[:place]
                carried.clip(-_MOST, _MOST, out=carried)
                np.add(own, carried, out=level)
                np.rint(level, out=level).clip(0, count - 1, out=level)
                np.subtract(own, level, out=error)
            rounded: np.ndarray = levels[back].T.astype(np.uint8)
            return rounded.reshape(values.shape)

        return round_values
