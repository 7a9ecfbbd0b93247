"""Intervals of the measures of the whole confusion matrix."""

import math

import numpy as np

from hybrid_batch.evaluation.statistics.confusion_matrix import STATISTICS, ConfusionMatrix, matrix_statistics
from hybrid_batch.evaluation.statistics.intervals import Reals, average_interval, effective_trials, wilson_ends

Ends = tuple[float, float]
_UNKNOWN = (math.nan, math.nan)


def matrix_intervals(matrix: ConfusionMatrix) -> dict[str, Ends]:
    """The ends of the 95 % interval of each of `STATISTICS`, NaN where it is unknown, of a matrix with records.

    The interval of an average over classes describes further records with as many of each class. For few records in
    a class the average over such sets, not over all records, is what precision and F1 estimate.
    """
    chance = _Chance(matrix)
    ends = _averages(matrix) | {"cohen_kappa": chance.kappa(), "matthews": chance.matthews()}
    values = matrix_statistics(*matrix.margins()).tolist()
    # Rounding must not exclude a value at the end of its range.
    return {
        name: (float(np.fmin(ends[name][0], value)), float(np.fmax(ends[name][1], value)))
        if math.isfinite(ends[name][0])
        else _UNKNOWN
        for name, value in zip(STATISTICS, values, strict=True)
    }


def _averages(matrix: ConfusionMatrix) -> dict[str, Ends]:
    """The averages over classes; the trials of a class are its labels, its predictions, or the mean of both for F1."""
    hits, labels, predictions = matrix.margins()
    records, occurring, labelled = labels.sum(), len(labels), np.count_nonzero(labels)
    both = (labels + predictions) / 2
    # A class that was never predicted counts as one trial without a hit, since its precision is 0 in averages.
    trials = np.maximum(predictions, 1)
    scale = records / trials.sum()
    hits_of_predictions, trials = (hits, trials) if scale == 1 else (hits * scale, trials * scale)
    equal, by_label = np.full(occurring, 1 / occurring), labels / records
    recall = average_interval(hits, labels, (labels > 0) / labelled)
    return {
        "balanced_accuracy": recall,
        "recall_macro": _scaled(recall, labelled / occurring),  # a class without labels has the recall 0, whatever
        "precision_macro": average_interval(hits_of_predictions, trials, equal),
        "precision_weighted": average_interval(hits_of_predictions, trials, by_label),
        "f1_macro": average_interval(hits, both, equal),
        "f1_weighted": average_interval(hits, both, by_label),
    }


def _scaled(ends: Ends, factor: float) -> Ends:
    return ends[0] * factor, ends[1] * factor


class _Chance:
    """Measures that correct the accuracy for agreement by chance: linear in the accuracy, as the margins are given.

    Wilson's interval of the accuracy maps to theirs (Cohen 1960). Its number of records is such that its variance
    includes that of the margins (Fleiss, Cohen & Everitt 1969), by the influence of each record on the measure.
    """

    def __init__(self, matrix: ConfusionMatrix) -> None:
        hits, labels, predictions = matrix.margins()
        self._records, self._total = matrix.records, labels.sum()
        self._accuracy = hits.sum() / self._total
        labels, predictions = labels / self._total, predictions / self._total
        self._by_chance = (labels * predictions).sum()
        self._diversity = [1 - (shares**2).sum() for shares in (labels, predictions)]
        of_label, of_prediction = labels[matrix.label], predictions[matrix.prediction]
        # The influences of the records of each cell on accuracy, chance agreement and both diversities.
        self._hit = (matrix.label == matrix.prediction) - self._accuracy
        self._agreeing = predictions[matrix.label] + labels[matrix.prediction] - 2 * self._by_chance
        self._diversities = [
            -2 * (shares - (1 - diversity))
            for shares, diversity in zip((of_label, of_prediction), self._diversity, strict=True)
        ]

    def kappa(self) -> Ends:
        """Cohen's kappa; NaN where all labels and predictions are one class."""
        excess = 1 - self._by_chance
        if excess <= 0:
            return _UNKNOWN
        return self._ends(self._hit - self._agreeing * (1 - self._accuracy) / excess, excess)

    def matthews(self) -> Ends:
        """The correlation of Matthews; NaN where all labels or all predictions are one class."""
        product = self._diversity[0] * self._diversity[1]
        if product <= 0:
            return _UNKNOWN
        slopes = sum(influence / (2 * d) for influence, d in zip(self._diversities, self._diversity, strict=True))
        return self._ends(self._hit - self._agreeing - (self._accuracy - self._by_chance) * slopes, math.sqrt(product))

    def _ends(self, influence: Reals, unit: float) -> Ends:
        """The ends of (accuracy - by chance) / unit, from the influence of each record on it, times the unit."""
        squares = float((self._records * influence**2).sum())
        trials = effective_trials(self._accuracy, self._total, squares)
        low, high = ((end - self._by_chance) / unit for end in wilson_ends(self._accuracy, trials))
        return max(-1.0, float(low)), min(1.0, float(high))
