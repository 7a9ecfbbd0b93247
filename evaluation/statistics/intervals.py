"""95 % intervals: Wilson's (1927) for proportions; for what is made of many counts, the bootstrap (Efron 1979)."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from hybrid_batch.evaluation.report_schema import Measure
from hybrid_batch.evaluation.statistics.confusion_matrix import Matrix, statistics

Z = 1.959963984540054
REPLICATES = 1000
SEED = 20260101
MAX_DRAWS = 12_000_000  # a second's work; above it, 110 classes or more with every cell met, the jackknife
MAX_CLASSES = 4096  # the jackknife's work grows with their square: a second
UNKNOWN = Measure(value=None, low=None, high=None)

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
_DRAWN_AT_ONCE = 1 << 20
_STEP = 1e-3


def wilson(hits: int, trials: int) -> Measure:
    """The proportion hits / trials with its score interval; unknown of no trials."""
    if not trials:
        return UNKNOWN
    share, weight = hits / trials, Z * Z / trials
    centre = (share + weight / 2) / (1 + weight)
    half = Z * math.sqrt(share * (1 - share) / trials + weight / (4 * trials)) / (1 + weight)
    # Rounding must not leave the share of 0 of n, or of n of n, outside.
    return Measure(value=share, low=min(share, max(0.0, centre - half)), high=max(share, min(1.0, centre + half)))


def bootstrap(counts: Integers, statistic: Callable[[Reals], Reals]) -> tuple[Reals, Reals]:
    """The 2.5 and 97.5 percentiles of statistics over resampled counts, over those that give a value at all.

    `counts` is the records in each cell. Each replicate draws every cell's anew from the Poisson distribution of
    that mean (the Poisson bootstrap, Chamandy et al. 2012), which for statistics of shares gives what drawing from
    the multinomial does, in half the time. `statistic` maps draws, (replicates, cells), to (replicates, statistics).
    """
    random = np.random.default_rng(SEED)
    step = max(1, _DRAWN_AT_ONCE // max(1, len(counts)))
    with np.errstate(divide="ignore", invalid="ignore"):
        values = [
            statistic(random.poisson(counts, (min(step, REPLICATES - start), len(counts))).astype(np.float64))
            for start in range(0, REPLICATES, step)
        ]
    ends = [_percentiles(column[np.isfinite(column)]) for column in np.concatenate(values).T]
    low, high = np.array(ends).T
    return low, high


def _percentiles(values: Reals) -> Reals:
    return np.quantile(values, (0.025, 0.975)) if len(values) else np.full(2, np.nan)


def matrix_intervals(matrix: Matrix) -> tuple[str, Reals, Reals]:
    """How the intervals of `matrix.STATISTICS` were made, and their lower and upper ends; NaN where unknown."""
    if len(matrix.records) * REPLICATES <= MAX_DRAWS:
        ends = bootstrap(matrix.records, lambda draws: statistics(*matrix.margins_of(draws)))
        return f"bootstrap, {REPLICATES:,} replicates", *ends
    if len(matrix.classes) > MAX_CLASSES:
        unknown = np.full(len(statistics(*matrix.margins())), np.nan)
        return f"none: more than {MAX_CLASSES:,} classes", unknown, unknown
    value, half = statistics(*matrix.margins()), Z * _jackknife(matrix)
    return "infinitesimal jackknife", np.maximum(value - half, -1), np.minimum(value + half, 1)


def _jackknife(matrix: Matrix) -> Reals:
    """The standard error of each statistic by the infinitesimal jackknife, to which the bootstrap's tends.

    It is the spread of the records' influences; a record's is the sum of the slopes by the margins it adds to.
    """
    margins = matrix.margins()
    base = statistics(*margins)
    slopes = []
    for place, margin in enumerate(margins):
        parts = []
        for chunk in np.array_split(np.arange(len(margin)), -(-len(margin) // 256)):
            moved = [np.repeat(other[None], len(chunk), axis=0) for other in margins]
            steps = _STEP * np.maximum(1, margin[chunk])
            moved[place][np.arange(len(chunk)), chunk] += steps
            parts.append((statistics(*moved) - base) / steps[:, None])
        slopes.append(np.concatenate(parts))
    diagonal, label, prediction = slopes
    influence = label[matrix.label] + prediction[matrix.prediction]
    influence += np.where((matrix.label == matrix.prediction)[:, None], diagonal[matrix.label], 0)
    total = matrix.records.sum()
    mean = (matrix.records[:, None] * influence).sum(0) / total
    error: Reals = np.sqrt((matrix.records[:, None] * (influence - mean) ** 2).sum(0))
    return error
