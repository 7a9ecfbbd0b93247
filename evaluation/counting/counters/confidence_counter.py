"""Classified records by confidence, with or without a label."""

import numpy as np
import numpy.typing as npt

from hybrid_batch.evaluation.counting.encoding.fixed_point import to_fixed

CONFIDENCE_BINS = 20


class ConfidenceCounter:
    """The confidences added so far, in bins of equal width [low, high); the last bin has also 1."""

    def __init__(self) -> None:
        self._cells = np.zeros((3, CONFIDENCE_BINS), np.int64)

    def add(self, confidence: npt.NDArray[np.float32]) -> None:
        """Add confidences in [0, 1]."""
        exact = confidence.astype(np.float64)
        bins = np.minimum((exact * CONFIDENCE_BINS).astype(np.int64), CONFIDENCE_BINS - 1)
        for cells, values in zip(self._cells, (np.ones_like(bins), *to_fixed(exact)), strict=True):
            np.add.at(cells, bins, values)

    def columns(self) -> dict[str, object]:
        """The columns of the tally `confidence`."""
        used = np.flatnonzero(self._cells[0])
        records, high, low = self._cells[:, used]
        return {"bin": used, "records": records, "high": high, "low": low}
