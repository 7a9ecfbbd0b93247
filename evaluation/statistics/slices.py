"""Slices of the report: coverage, accuracy, bytes and times of the records with one value of a column."""

from collections import defaultdict
from itertools import pairwise
from typing import Any

import numpy as np

from hybrid_batch.evaluation.counting.counts import OVERALL, Counts
from hybrid_batch.evaluation.counting.encoding.fixed_point import Integers
from hybrid_batch.evaluation.counting.encoding.latency_buckets import bucket_edges_us, quantiles_us
from hybrid_batch.evaluation.report_schema import LATENCY_PARTS, QUANTILES, Histogram, Slice, StageLatency
from hybrid_batch.evaluation.statistics.intervals import wilson_interval

_WITH_HISTOGRAM = (OVERALL, "cut", "codec", "tail")
_OCTAVE_BITS = 4  # dropped from a bucket's 7 mantissa bits for a histogram: eight bins an octave remain

_Key = tuple[str, str | None]


def build_slices(counts: Counts) -> dict[str, list[Slice]]:
    """The slices of each column by ascending value, null first; `OVERALL` has the one slice of all records."""
    stages, timed = _stages(counts), timed_records(counts)
    slices: dict[str, list[Slice]] = defaultdict(list)
    rows = sorted(counts["slices"].to_pylist(), key=lambda row: (row["by"], row["value"] is not None, row["value"]))
    for row in rows:
        key = row["by"], row["value"]
        slices[row["by"]].append(_slice(row, stages.get(key, {}), timed.get(key, {})))
    return slices


def empty_slice() -> Slice:
    """The slice of no records."""
    return _slice(defaultdict(int, value=None), {}, {})


def timed_records(counts: Counts) -> dict[_Key, dict[str, int]]:
    """The number of records with a time, by column, value and stage."""
    totals = counts["latency"].group_by(["by", "value", "stage"]).aggregate([("records", "sum")])
    timed: dict[_Key, dict[str, int]] = defaultdict(dict)
    for row in totals.to_pylist():
        timed[row["by"], row["value"]][row["stage"]] = row["records_sum"]
    return timed


def _slice(row: dict[str, Any], stages: dict[str, StageLatency], timed: dict[str, int]) -> Slice:
    labelled = row["records"] - row["errors"] - row["unlabelled"]
    image_bytes = row["image_bytes"]
    return Slice(
        value=row["value"],
        records=row["records"],
        errors=row["errors"],
        unlabelled=row["unlabelled"],
        labelled=labelled,
        accuracy=wilson_interval(row["correct"], labelled),
        top5_accuracy=wilson_interval(row["top5_correct"], labelled - row["top5_unknown"]),
        image_bytes=image_bytes,
        cut_bytes=row["cut_bytes"],
        sent_bytes=row["sent_bytes"],
        received_bytes=row["received_bytes"],
        cut_share=row["cut_bytes"] / image_bytes if image_bytes else None,
        sent_share=row["sent_bytes"] / image_bytes if image_bytes else None,
        accounted=_accounted(stages, timed),
        stages=stages,
    )


def _accounted(stages: dict[str, StageLatency], timed: dict[str, int]) -> float | None:
    """The sum of the parts' means divided by the mean latency; `timed` has the number of records by stage."""
    if not stages or any(timed.get(part) != timed["latency"] for part in LATENCY_PARTS):
        return None
    latency = stages["latency"]["mean_us"]
    return sum(stages[part]["mean_us"] for part in LATENCY_PARTS) / latency if latency else None


def _stages(counts: Counts) -> dict[_Key, dict[str, StageLatency]]:
    measured = {(row["by"], row["value"], row["stage"]): row for row in counts["stages"].to_pylist()}
    stages: dict[_Key, dict[str, StageLatency]] = defaultdict(dict)
    latency = counts["latency"]
    words = [latency[name].combine_chunks() for name in ("by", "value", "stage")]
    codes = [np.asarray(column.indices.fill_null(-1)) for column in words]
    buckets, records = latency["bucket"].to_numpy(), latency["records"].to_numpy()
    order = np.lexsort((buckets, *codes))
    codes, buckets, records = [code[order] for code in codes], buckets[order], records[order]
    changes = np.any([np.diff(code, prepend=-2) != 0 for code in codes], axis=0)
    starts = np.flatnonzero(changes).tolist()
    texts = [[*column.dictionary.to_pylist(), None] for column in words]
    for start, end in pairwise([*starts, len(order)]):
        by, value, stage = (text[code[start]] for text, code in zip(texts, codes, strict=True))
        stages[by, value][stage] = _stage(
            measured[by, value, stage], buckets[start:end], records[start:end], by in _WITH_HISTOGRAM
        )
    return stages


def _stage(row: dict[str, int], buckets: Integers, records: Integers, draw: bool) -> StageLatency:
    # The value of a bucket may be outside the exact minimum and maximum.
    quantiles = np.clip(quantiles_us(buckets, records, QUANTILES.values()), row["min_us"], row["max_us"])
    p50, p90, p95, p99, p999 = quantiles.tolist()
    return StageLatency(
        mean_us=row["sum_us"] / int(records.sum()),
        min_us=row["min_us"],
        max_us=row["max_us"],
        p50_us=p50,
        p90_us=p90,
        p95_us=p95,
        p99_us=p99,
        p999_us=p999,
        histogram=_histogram(buckets, records) if draw else None,
    )


def _histogram(buckets: Integers, records: Integers) -> Histogram:
    bins = np.sign(buckets) * (np.abs(buckets) >> _OCTAVE_BITS)
    starts = np.flatnonzero(np.diff(bins, prepend=bins[0] - 1))
    edges = [bucket_edges_us(number, _OCTAVE_BITS) for number in bins[starts].tolist()]
    return Histogram(
        low_us=[low for low, _ in edges],
        high_us=[high for _, high in edges],
        records=np.add.reduceat(records, starts).tolist(),
    )
