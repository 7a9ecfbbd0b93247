"""95 % intervals: Wilson's (1927) for proportions, the bootstrap (Efron 1979) for functions of many counts."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from hybrid_batch.evaluation.report_schema import Measure
from hybrid_batch.evaluation.statistics.confusion_matrix import ConfusionMatrix, matrix_statistics

Z = 1.959963984540054
REPLICATES = 1000
SEED = 20260101
MAX_DRAWS = 12_000_000  # one second; beyond it (110 classes with every cell used) the jackknife
MAX_CLASSES = 4096  # one second for the jackknife, whose time grows with the square
UNKNOWN = Measure(value=None, low=None, high=None)

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
_CELLS_AT_ONCE = 1 << 20
_STEP = 1e-3


def wilson_interval(hits: int, trials: int) -> Measure:
    """The proportion hits / trials with its score interval; unknown for 0 trials."""
    if not trials:
        return UNKNOWN
    share, weight = hits / trials, Z * Z / trials
    centre = (share + weight / 2) / (1 + weight)
    half = Z * math.sqrt(share * (1 - share) / trials + weight / (4 * trials)) / (1 + weight)
    # Rounding must not exclude the proportion itself when hits is 0 or equal to trials.
    return Measure(value=share, low=min(share, max(0.0, centre - half)), high=max(share, min(1.0, centre + half)))


def bootstrap_intervals(counts: Integers, statistic: Callable[[Reals], Reals]) -> tuple[Reals, Reals]:
    """The 2.5 and 97.5 percentiles of statistics over resampled counts, without replicates that are not finite.

    `counts` has the number of records in each cell. Each replicate draws every cell from the Poisson distribution with
    that mean (the Poisson bootstrap, Chamandy et al. 2012). For statistics of shares this equals multinomial
    resampling and takes half the time. `statistic` maps draws, (replicates, cells), to (replicates, statistics).
    """
    random = np.random.default_rng(SEED)
    step = max(1, _CELLS_AT_ONCE // max(1, len(counts)))
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


def matrix_intervals(matrix: ConfusionMatrix) -> tuple[str, Reals, Reals]:
    """The method of the intervals of `STATISTICS`, as text, and their lower and upper bounds; NaN where unknown."""
    if len(matrix.records) * REPLICATES <= MAX_DRAWS:
        ends = bootstrap_intervals(matrix.records, lambda draws: matrix_statistics(*matrix.resampled_margins(draws)))
        return f"bootstrap, {REPLICATES:,} replicates", *ends
    if len(matrix.classes) > MAX_CLASSES:
        unknown = np.full(len(matrix_statistics(*matrix.margins())), np.nan)
        return f"none: more than {MAX_CLASSES:,} classes", unknown, unknown
    value, half = matrix_statistics(*matrix.margins()), Z * _jackknife(matrix)
    return "infinitesimal jackknife", np.maximum(value - half, -1), np.minimum(value + half, 1)


def _jackknife(matrix: ConfusionMatrix) -> Reals:
    """The standard error of each statistic by the infinitesimal jackknife, the limit of the bootstrap's.

    It is the spread of the influences of all records. The influence of a record is the sum of the statistic's
    derivatives by the margins to which the record adds.
    """
    margins = matrix.margins()
    base = matrix_statistics(*margins)
    slopes = []
    for place, margin in enumerate(margins):
        parts = []
        for chunk in np.array_split(np.arange(len(margin)), -(-len(margin) // 256)):
            moved = [np.repeat(other[None], len(chunk), axis=0) for other in margins]
            steps = _STEP * np.maximum(1, margin[chunk])
            moved[place][np.arange(len(chunk)), chunk] += steps
            parts.append((matrix_statistics(*moved) - base) / steps[:, None])
        slopes.append(np.concatenate(parts))
    diagonal, label, prediction = slopes
    influence = label[matrix.label] + prediction[matrix.prediction]
    influence += np.where((matrix.label == matrix.prediction)[:, None], diagonal[matrix.label], 0)
    total = matrix.records.sum()
    mean = (matrix.records[:, None] * influence).sum(0) / total
    error: Reals = np.sqrt((matrix.records[:, None] * (influence - mean) ** 2).sum(0))
    return error
