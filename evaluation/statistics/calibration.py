"""Calibration: does a confidence of 80 % mean that 80 % of the predictions are correct?

Only the confidence of the top label is evaluated, as the probability that the prediction is correct: a record has at
most five scores, so a score of the whole distribution cannot be computed.
"""

import math

import numpy as np
import pyarrow as pa

from hybrid_batch.evaluation.counting.counters.calibration_counter import BINS, BUCKETS, bucket_doubt, outcome_scores
from hybrid_batch.evaluation.counting.counts import Counts
from hybrid_batch.evaluation.counting.encoding.fixed_point import Integers, Reals, from_fixed
from hybrid_batch.evaluation.report_schema import Bin, Binning, Calibration, Measure
from hybrid_batch.evaluation.statistics.intervals import UNKNOWN, bootstrap_intervals, wilson_interval

Z_ONE_SIDED = 1.6448536269514722
_MEASURES = {"brier": "confidence_brier", "log_loss": "confidence_log_loss"}
_COARSER_BITS = 4  # of a bucket, for the bootstrap: 16 cells become one


def build_calibration(tally: pa.Table) -> Calibration:
    """Both binnings of the tally `calibration`."""
    bins, buckets, correct, records, confidence = _cells(tally)
    hits = records * correct
    equal_width = _binning(bins, records, hits, confidence, [i / BINS for i in range(BINS + 1)])
    # Equal mass: by descending doubt, a bucket belongs to the bin of the middle of its records.
    descending, places = np.unique(-buckets, return_inverse=True)
    mass = np.bincount(places, records, len(descending))
    middle = np.cumsum(mass) - mass / 2
    shares = (middle * BINS / max(1, mass.sum())).astype(np.int64)
    used, dense = np.unique(shares, return_inverse=True)
    last = [int(-descending[np.flatnonzero(dense == place)[-1]]) for place in range(len(used))]
    edges = [0.0, *(1 - bucket_doubt(bucket) for bucket in last[:-1]), 1.0]
    equal_mass = _binning(dense[places], records, hits, confidence, edges)
    return Calibration(records=int(records.sum()), equal_width=equal_width, equal_mass=equal_mass)


def confidence_scores(counts: Counts) -> dict[str, Measure]:
    """`confidence_brier` and `confidence_log_loss` from the tallies `scores` and `calibration`.

    Values are exact. Intervals are bootstrapped from coarser cells, in which every record has the cell's mean.
    """
    bins, buckets, correct, records, confidence = _cells(counts["calibration"])
    if not len(records):
        return dict.fromkeys(_MEASURES.values(), UNKNOWN)
    _, places = np.unique(2 * (bins * BUCKETS + (buckets >> _COARSER_BITS)) + correct, return_inverse=True)
    n, hits, sums = (np.bincount(places, values) for values in (records, records * correct, confidence))
    probability = np.where(hits > 0, sums / n, 1 - sums / n)
    values = np.stack(list(outcome_scores(probability).values()), axis=1)
    low, high = bootstrap_intervals(n.astype(np.int64), lambda draws: _means(draws, values))
    (coarse,) = _means(n.astype(np.float64)[None], values)
    exact = {row["score"]: from_fixed(row["high"], row["low"]) / int(n.sum()) for row in counts["scores"].to_pylist()}
    return {
        _MEASURES[name]: Measure(
            value=value, low=max(0.0, value + float(low[i] - coarse[i])), high=value + float(high[i] - coarse[i])
        )
        for i, (name, value) in enumerate((name, exact[name]) for name in _MEASURES)
    }


def _cells(tally: pa.Table) -> tuple[Integers, Integers, Integers, Integers, Reals]:
    """Columns of the tally `calibration`: bin, bucket, 1 if correct, records, sum of confidences.

    Rows are sorted by cell, since a sum of reals depends on their order.
    """
    tally = tally.sort_by([(name, "ascending") for name in ("bin", "bucket", "correct")])
    bins, buckets, correct, records = (tally[name].to_numpy() for name in ("bin", "bucket", "correct", "records"))
    halves = zip(tally["confidence_high"].to_pylist(), tally["confidence_low"].to_pylist(), strict=True)
    return bins, buckets, correct, records, np.array([from_fixed(*pair) for pair in halves], np.float64)


def _means(draws: Reals, values: Reals) -> Reals:
    """The mean of each column of `values`, (cells, scores), weighted by each row of `draws`, (replicates, cells)."""
    # Not `draws @ values`: the order of additions in a BLAS, and so the last bit, differs between machines.
    means: Reals = (draws[:, :, None] * values).sum(1) / draws.sum(1, keepdims=True)
    return means


def _binning(places: Integers, records: Integers, hits: Integers, confidence: Reals, edges: list[float]) -> Binning:
    """The bins between consecutive edges; `places` has the bin of each cell."""
    count = len(edges) - 1
    n, correct, sums = (np.bincount(places, values, count) for values in (records, hits, confidence))
    total = n.sum()
    bins = [_bin(edges[i], edges[i + 1], int(n[i]), int(correct[i]), float(sums[i])) for i in range(count)]
    if not total:
        return Binning(ece=None, ece_null=None, ece_null_p95=None, bins=bins if count == BINS else [])
    # For perfect confidences |correct - sum| of a bin is half normal, with this variance before it is halved.
    mean = np.divide(confidence, records)
    variance = np.bincount(places, records * mean * (1 - mean), count)
    null = np.sqrt(variance * 2 / math.pi).sum()
    spread = math.sqrt(variance.sum() * (1 - 2 / math.pi))
    return Binning(
        ece=float(np.abs(correct - sums).sum() / total),
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
        accuracy=wilson_interval(hits, records) if records else UNKNOWN,
    )
