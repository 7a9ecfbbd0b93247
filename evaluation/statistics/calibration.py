"""Calibration: does a confidence of 80 % mean that 80 % of the predictions are correct?

Only the confidence of the top label is evaluated, as the probability that the prediction is correct: a record has at
most five scores, so a score of the whole distribution cannot be computed.
"""

import math

import numpy as np
import pyarrow as pa

from hybrid_batch.evaluation.counting.counters.calibration_counter import BINS, bucket_doubt, outcome_scores
from hybrid_batch.evaluation.counting.counts import Counts
from hybrid_batch.evaluation.counting.encoding.fixed_point import Integers, Reals, from_fixed
from hybrid_batch.evaluation.report_schema import Bin, Binning, Calibration, Measure
from hybrid_batch.evaluation.statistics.intervals import UNKNOWN, effective_trials, wilson_ends, wilson_interval

Z_ONE_SIDED = 1.6448536269514722
_MEASURES = {"brier": "confidence_brier", "log_loss": "confidence_log_loss"}


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

    Values are exact. Their intervals are Wilson's, with the range between the best and the worst score that the
    confidences permit as the unit; every record of a cell varies as the cell's mean does.
    """
    _, _, correct, records, confidence = _cells(counts["calibration"])
    if not len(records):
        return dict.fromkeys(_MEASURES.values(), UNKNOWN)
    mean = confidence / records
    scores, opposite = (outcome_scores(np.where(right, mean, 1 - mean)) for right in (correct > 0, correct == 0))
    total = int(records.sum())
    exact = {row["score"]: from_fixed(row["high"], row["low"]) / total for row in counts["scores"].to_pylist()}
    return {
        measure: _mean_score(exact[name], records, scores[name], opposite[name]) for name, measure in _MEASURES.items()
    }


def _mean_score(value: float, records: Integers, scores: Reals, opposite: Reals) -> Measure:
    """The mean score with its interval; `scores` are those of the cells, `opposite` those of the other outcome."""
    best, worst = (float(end(np.stack([scores, opposite]))) for end in (np.min, np.max))
    if best == worst:  # each record has the same score, whether it is correct or not
        return Measure(value=value, low=value, high=value)
    share = min(max((value - best) / (worst - best), 0.0), 1.0)
    total = float(records.sum())
    squares = float((records * ((scores - best) / (worst - best) - share) ** 2).sum())
    low, high = (best + (worst - best) * end for end in wilson_ends(share, effective_trials(share, total, squares)))
    return Measure(value=value, low=min(low, value), high=max(high, value))


def _cells(tally: pa.Table) -> tuple[Integers, Integers, Integers, Integers, Reals]:
    """Columns of the tally `calibration`: bin, bucket, 1 if correct, records, sum of confidences.

    Rows are sorted by cell, since a sum of reals depends on their order.
    """
    tally = tally.sort_by([(name, "ascending") for name in ("bin", "bucket", "correct")])
    bins, buckets, correct, records = (tally[name].to_numpy() for name in ("bin", "bucket", "correct", "records"))
    halves = zip(tally["confidence_high"].to_pylist(), tally["confidence_low"].to_pylist(), strict=True)
    return bins, buckets, correct, records, np.array([from_fixed(*pair) for pair in halves], np.float64)


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
