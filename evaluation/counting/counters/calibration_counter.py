"""Labelled records by cell of confidence, and the sums of two proper scores.

A cell is one of 15 bins of equal width in confidence, and within it a bucket of the doubt, 1 - confidence, by the rule
of `latency_buckets`: the top bits of the float32. Buckets get finer towards full confidence, where most confidences of
trained networks are.
"""

import numpy as np
import numpy.typing as npt

from hybrid_batch.evaluation.counting.encoding.fixed_point import Reals, ln, to_fixed

BINS = 15  # as in Guo et al. 2017 and most publications since
BUCKETS = 127 * 128 + 1  # of doubts from 0 to 1
CLIP = 2.0**-23  # the bound to which scikit-learn clips float32 probabilities before it takes logarithms
_SCORES = ("brier", "log_loss")
_DROPPED_BITS = 16


class CalibrationCounter:
    """The confidences added so far, by cell, and the sums of their scores."""

    def __init__(self) -> None:
        self._cells = np.zeros((3, 2 * BINS * BUCKETS), np.int64)
        self._sums = dict.fromkeys(_SCORES, (0, 0))

    def add(self, confidence: npt.NDArray[np.float32], correct: npt.NDArray[np.bool_]) -> None:
        """Add labelled records with confidences in [0, 1]. Bins are (low, high], the first [0, high]."""
        exact = confidence.astype(np.float64)
        bins = np.maximum(np.ceil(exact * BINS).astype(np.int64) - 1, 0)
        buckets = (1 - confidence).view(np.int32) >> _DROPPED_BITS
        cells = 2 * (bins * BUCKETS + buckets) + correct
        high, low = to_fixed(exact)
        np.add.at(self._cells[0], cells, 1)
        np.add.at(self._cells[1], cells, high)
        np.add.at(self._cells[2], cells, low)
        for name, values in outcome_scores(np.where(correct, exact, 1 - exact)).items():
            sum_high, sum_low = self._sums[name]
            high, low = to_fixed(values)
            self._sums[name] = sum_high + int(high.sum()), sum_low + int(low.sum())

    def columns(self) -> dict[str, dict[str, object]]:
        """The columns of the tallies `calibration` and `scores`."""
        used = np.flatnonzero(self._cells[0])
        places, correct = np.divmod(used, 2)
        bins, buckets = np.divmod(places, BUCKETS)
        records, high, low = self._cells[:, used]
        sums = {"records": records, "confidence_high": high, "confidence_low": low}
        scores = {
            "score": list(self._sums),
            "high": [high for high, _ in self._sums.values()],
            "low": [low for _, low in self._sums.values()],
        }
        return {"calibration": {"bin": bins, "bucket": buckets, "correct": correct, **sums}, "scores": scores}


def outcome_scores(probability: Reals) -> dict[str, Reals]:
    """The Brier score and the log loss of each record, from the probability that was given to its outcome."""
    return {"brier": (1 - probability) ** 2, "log_loss": -ln(np.clip(probability, CLIP, 1 - CLIP))}


def bucket_doubt(bucket: int) -> float:
    """The smallest doubt of a bucket."""
    return float(np.array(bucket << _DROPPED_BITS, np.int32).view(np.float32))
