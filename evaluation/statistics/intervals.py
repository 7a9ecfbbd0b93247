"""95 % intervals, one method for each family of scores.

| scores | method |
|---|---|
| proportions | Wilson's score interval (1927) |
| averages over classes | score interval with the largest variance that the class sizes permit: `average_interval` |
| kappa, Matthews, Brier score, log loss | Wilson's interval with an effective number of records: `effective_trials` |
| differences of paired accuracies | Tango's score interval (1998): `paired_interval` |

A score interval has the values that a test of the score does not reject. Its variance is that of the tested value, not
of the estimate, so it stays right where all records are correct or none is, and for one record in each class.
"""

import math

import numpy as np
import numpy.typing as npt

from hybrid_batch.evaluation.report_schema import Measure

Z = 1.959963984540054
METHODS = (
    "Proportions: Wilson. Averages over classes: the score interval with the largest variance that the class sizes "
    "permit (Peskun), which is Wilson's for classes of equal size. Kappa, Matthews, Brier score and log loss: Wilson "
    "with an effective number of records."
)
UNKNOWN = Measure(value=None, low=None, high=None)

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
_HALVINGS = 80  # of the interval that contains an end; the last ones are below the precision of a float


def wilson_interval(hits: int, trials: int) -> Measure:
    """The proportion hits / trials with its score interval; unknown for 0 trials."""
    if not trials:
        return UNKNOWN
    low, high = wilson_ends(hits / trials, trials)
    return Measure(value=hits / trials, low=low, high=high)


def wilson_ends(share: float, trials: float) -> tuple[float, float]:
    """The ends of Wilson's interval of a proportion; the number of trials is above 0 and need not be whole."""
    weight = Z * Z / trials
    centre = (share + weight / 2) / (1 + weight)
    half = Z * math.sqrt(share * (1 - share) / trials + weight / (4 * trials)) / (1 + weight)
    # Rounding must not exclude the proportion itself when it is 0 or 1.
    return min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half))


def average_interval(hits: Reals, trials: Reals, weights: Reals) -> tuple[float, float]:
    """The ends of the interval of sum(weights * hits / trials), an average of independent proportions.

    This is Peskun's method (1993) for a linear combination of proportions (Martín Andrés et al. 2012): the variance is
    the largest that any proportions with the tested average have, because a class of few records does not show its own
    variance. It is Wilson's interval of all hits where trials are proportional to weights, as the recall of classes of
    equal size. The arrays, (classes,), have weights of at least 0, and trials above 0 that need not be whole.
    """
    used = weights > 0
    hits, trials, weights = hits[used], trials[used], weights[used]
    total = float(weights.sum())
    if not total:
        return 0.0, 0.0
    ratios = trials / weights
    ratios /= ratios.min()
    if ratios.max() - 1 < 1e-9:
        low, high = wilson_ends(float(hits.sum() / trials.sum()), float(trials.sum()))
        return low * total, high * total
    value = float((weights * hits / trials).sum())
    variances = weights * weights / trials

    def excess(slope: float, side: int) -> tuple[float, float]:
        """The average of the proportions with the largest variance, and by how much it is outside the interval.

        By Lagrange's condition these proportions have the same ratio of the derivatives of variance and average.
        """
        shares = np.clip((1 - slope * ratios) / 2, 0, 1)
        average = float((weights * shares).sum())
        return average, side * (value - average) - Z * math.sqrt(float((variances * shares * (1 - shares)).sum()))

    ends = []
    for side in (1, -1):
        inside, outside = -float(side), float(side)
        for _ in range(_HALVINGS):
            middle = (inside + outside) / 2
            if excess(middle, side)[1] < 0:
                inside = middle
            else:
                outside = middle
        ends.append(excess(outside, side)[0])
    return min(ends[0], value), max(ends[1], value)


def effective_trials(mean: float, records: float, squares: float) -> float:
    """The number of trials whose proportion would vary as much as the mean, in [0, 1], of this number of records.

    `squares` is the sum of squares of the records' influences on the mean, which for an average of values are their
    distances from it. This is the effective sample size of surveys (Korn & Graubard 1998). Both sums of squares are
    extended by z², as many as Wilson's interval adds: a few records show too little of their variance, or none.
    """
    return records * (records * mean * (1 - mean) + Z * Z) / (squares + Z * Z)


def paired_interval(only_a: Integers, only_b: Integers, pairs: Integers) -> tuple[Reals, Reals]:
    """The ends of Tango's score interval (1998) of (only_b - only_a) / pairs, the difference of paired proportions.

    `only_a` and `only_b` have the pairs in which only A or only B is right, of `pairs` above 0; all are (slices,). The
    interval excludes 0 exactly if McNemar's asymptotic test rejects equality.
    """
    difference = (only_b - only_a) / pairs
    low, high = (_tango_end(only_a, only_b, pairs, difference, side) for side in (-1, 1))
    return np.minimum(low, difference), np.maximum(high, difference)


def _tango_end(only_a: Integers, only_b: Integers, pairs: Integers, difference: Reals, side: int) -> Reals:
    inside, outside = difference, np.full(len(pairs), float(side))
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        # The most likely share of pairs in which only A is right, if the difference were `middle`.
        linear = (2 * pairs + only_a - only_b) * middle - only_a - only_b
        root = linear**2 + 8 * pairs * only_a * middle * (1 - middle)
        share = (np.sqrt(np.maximum(root, 0)) - linear) / (4 * pairs)
        variance = np.maximum(pairs * (2 * share + middle * (1 - middle)), 0)
        rejected = side * (pairs * middle - (only_b - only_a)) > Z * np.sqrt(variance)
        inside, outside = np.where(rejected, inside, middle), np.where(rejected, middle, outside)
    ends: Reals = (inside + outside) / 2
    return ends
