"""Whether a confidence of 80 % is right 80 % of the time.

Judged is the top label alone: its confidence as the probability that the prediction is right (a record holds five
scores at most, so a score of the whole distribution cannot be computed). Labelled records are counted in cells: one
of 15 bins of equal width in confidence, and within it the bucket of the doubt, 1 - confidence, by `latency.bucket`'s
rule for float32. Buckets get finer towards full confidence, where the confidences of trained networks crowd.
"""

import math

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hybrid_batch.evaluation.counting.counts import Counts
from hybrid_batch.evaluation.counting.fixed_point import Integers, Reals, join, ln, split
from hybrid_batch.evaluation.report_schema import Bin, Binning, Calibration, Measure
from hybrid_batch.evaluation.statistics.intervals import UNKNOWN, bootstrap, wilson

BINS = 15  # as in Guo et al. 2017 and most since
CLIP = 2.0**-23  # as scikit-learn clips the probabilities of float32 before it takes logarithms
BUCKETS = 127 * 128 + 1  # of doubts from 0 to 1
_MEASURED = {"brier": "confidence_brier", "log_loss": "confidence_log_loss"}
_COARSER = 4
Z_ONE_SIDED = 1.6448536269514722


class Confidences:
    """The confidences added so far, in cells; and the sums of their scores."""

    def __init__(self) -> None:
        self._cells = np.zeros((3, 2 * BINS * BUCKETS), np.int64)
        self._sums = dict.fromkeys(_MEASURED, (0, 0))

    def add(self, confidence: npt.NDArray[np.float32], correct: npt.NDArray[np.bool_]) -> None:
        """Add labelled records, their confidences in [0, 1]. Bins are (low, high], the first [0, high]."""
        exact = confidence.astype(np.float64)
        bins = np.maximum(np.ceil(exact * BINS).astype(np.int64) - 1, 0)
        buckets = (1 - confidence).view(np.int32) >> 16
        cells = 2 * (bins * BUCKETS + buckets) + correct
        high, low = split(exact)
        np.add.at(self._cells[0], cells, 1)
        np.add.at(self._cells[1], cells, high)
        np.add.at(self._cells[2], cells, low)
        happened = np.where(correct, exact, 1 - exact)  # the probability given to what happened
        for name, values in _scores(happened).items():
            had_high, had_low = self._sums[name]
            high, low = split(values)
            self._sums[name] = had_high + int(high.sum()), had_low + int(low.sum())

    def columns(self) -> dict[str, dict[str, object]]:
        """The columns of the tallies `calibration` and `scores`."""
        met = np.flatnonzero(self._cells[0])
        places, correct = np.divmod(met, 2)
        bins, buckets = np.divmod(places, BUCKETS)
        records, high, low = self._cells[:, met]
        sums = {"records": records, "confidence_high": high, "confidence_low": low}
        scores = {
            "score": list(self._sums),
            "high": [high for high, _ in self._sums.values()],
            "low": [low for _, low in self._sums.values()],
        }
        return {"calibration": {"bin": bins, "bucket": buckets, "correct": correct, **sums}, "scores": scores}


def calibration(counts: pa.Table) -> Calibration:
    """Both binnings of the tally `calibration`."""
    bins, buckets, correct, records, confidence = arrays(counts)
    right = records * correct
    width = _binning(bins, records, right, confidence, [i / BINS for i in range(BINS + 1)])
    # Equal mass: by falling doubt, each bucket goes where the middle of its records falls.
    found, places = np.unique(-buckets, return_inverse=True)
    mass = np.bincount(places, records, len(found))
    middle = np.cumsum(mass) - mass / 2
    shares = (middle * BINS / max(1, mass.sum())).astype(np.int64)
    used, dense = np.unique(shares, return_inverse=True)
    last = [int(-found[np.flatnonzero(dense == place)[-1]]) for place in range(len(used))]
    edges = [0.0, *(1 - _doubt(bucket) for bucket in last[:-1]), 1.0]
    equal_mass = _binning(dense[places], records, right, confidence, edges)
    return Calibration(records=int(records.sum()), equal_width=width, equal_mass=equal_mass)


def arrays(counts: pa.Table) -> tuple[Integers, Integers, Integers, Integers, Reals]:
    """Of each row of the tally: bin, bucket, whether correct, records, sum of confidences; by ascending cell, since
    sums of reals depend on their order."""
    counts = counts.sort_by([(name, "ascending") for name in ("bin", "bucket", "correct")])
    bins, buckets, correct, records = (counts[name].to_numpy() for name in ("bin", "bucket", "correct", "records"))
    halves = zip(counts["confidence_high"].to_pylist(), counts["confidence_low"].to_pylist(), strict=True)
    return bins, buckets, correct, records, np.array([join(*pair) for pair in halves], np.float64)


def score_intervals(counts: Counts) -> dict[str, Measure]:
    """`confidence_brier` and `confidence_log_loss` from the tallies `scores` and `calibration`.

    Values are exact; intervals are bootstrapped from coarser cells, whose records count as their mean.
    """
    bins, buckets, correct, records, confidence = arrays(counts["calibration"])
    if not len(records):
        return dict.fromkeys(_MEASURED.values(), UNKNOWN)
    _, places = np.unique(2 * (bins * BUCKETS + (buckets >> _COARSER)) + correct, return_inverse=True)
    n, right, sums = (np.bincount(places, values) for values in (records, records * correct, confidence))
    happened = np.where(right > 0, sums / n, 1 - sums / n)
    values = np.stack(list(_scores(happened).values()), axis=1)
    low, high = bootstrap(n.astype(np.int64), lambda draws: _means(draws, values))
    (about,) = _means(n.astype(np.float64)[None], values)
    exact = {row["score"]: join(row["high"], row["low"]) / int(n.sum()) for row in counts["scores"].to_pylist()}
    return {
        _MEASURED[name]: Measure(
            value=value, low=max(0.0, value + float(low[i] - about[i])), high=value + float(high[i] - about[i])
        )
        for i, (name, value) in enumerate((name, exact[name]) for name in _MEASURED)
    }


def _means(draws: Reals, values: Reals) -> Reals:
    """The mean of each column of `values`, (cells, scores), weighted by each row of `draws`, (replicates, cells)."""
    # Not `draws @ values`: the order in which a BLAS adds, and so the last bit, is its own on every machine.
    means: Reals = (draws[:, :, None] * values).sum(1) / draws.sum(1, keepdims=True)
    return means


def _scores(happened: Reals) -> dict[str, Reals]:
    """Scores by name of the probability that was given to what happened."""
    return {"brier": (1 - happened) ** 2, "log_loss": -ln(np.clip(happened, CLIP, 1 - CLIP))}


def _doubt(bucket: int) -> float:
    """The smallest doubt of a bucket."""
    return float(np.array(bucket << 16, np.int32).view(np.float32))


def _binning(places: Integers, records: Integers, right: Integers, confidence: Reals, edges: list[float]) -> Binning:
    """The bins between consecutive edges, to which `places` assigns the cells."""
    count = len(edges) - 1
    n, hits, sums = (np.bincount(places, values, count) for values in (records, right, confidence))
    total = n.sum()
    bins = [_bin(edges[i], edges[i + 1], int(n[i]), int(hits[i]), float(sums[i])) for i in range(count)]
    if not total:
        return Binning(ece=None, ece_null=None, ece_null_p95=None, bins=bins if count == BINS else [])
    # Of perfect confidences a bin's |hits - sum| is half normal, of this variance before it is halved.
    mean = np.divide(confidence, records)
    variance = np.bincount(places, records * mean * (1 - mean), count)
    null = np.sqrt(variance * 2 / math.pi).sum()
    spread = math.sqrt(variance.sum() * (1 - 2 / math.pi))
    return Binning(
        ece=float(np.abs(hits - sums).sum() / total),
        ece_null=float(null / total),
        ece_null_p95=float((null + Z_ONE_SIDED * spread) / total),
        bins=bins,
    )


def _bin(low: float, high: float, records: int, hits: int, confidence: float) -> Bin:
    return Bin(
        low=low,
        high=high,
        records=records,
        confidence=confidence / records if records else None,
        accuracy=wilson(hits, records) if records else UNKNOWN,
    )
