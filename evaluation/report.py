"""The report of an evaluation: all measures of the records, as one dict.

It is a function of the counts alone, so the same records give the same bytes with every engine and in any shards.
"""

import math

import numpy as np

from hybrid_batch.data.log.records import WAITS
from hybrid_batch.evaluation.counting.confident_errors import list_errors
from hybrid_batch.evaluation.counting.counts import OVERALL, Counts
from hybrid_batch.evaluation.report_schema import DEFAULT_SLICES, REPORT_VERSION, ClassRow, Coverage, Measure, Report
from hybrid_batch.evaluation.statistics.calibration import build_calibration, confidence_scores
from hybrid_batch.evaluation.statistics.confusion_matrix import (
    STATISTICS,
    ConfusionMatrix,
    build_matrix,
    matrix_statistics,
)
from hybrid_batch.evaluation.statistics.coverage import build_confidences, build_failures, build_runs
from hybrid_batch.evaluation.statistics.intervals import METHODS, UNKNOWN, wilson_interval
from hybrid_batch.evaluation.statistics.matrix_intervals import matrix_intervals
from hybrid_batch.evaluation.statistics.notes import build_notes
from hybrid_batch.evaluation.statistics.slices import build_slices, empty_slice, timed_records
from hybrid_batch.evaluation.statistics.throughput import build_throughput


def build_report(counts: Counts) -> Report:
    """The report of the counted records. Its `bad_parts` has one sentence for each part that is unreadable."""
    matrix = build_matrix(counts["confusion"])
    sliced = build_slices(counts)
    overall = sliced.pop(OVERALL, [empty_slice()])[0]
    overflows = counts["overflows"]["by"].to_pylist()
    classes = _per_class(matrix)
    report = Report(
        report_version=REPORT_VERSION,
        coverage=Coverage(
            records=overall["records"],
            errors=overall["errors"],
            unlabelled=overall["unlabelled"],
            labelled=overall["labelled"],
        ),
        headline={
            "accuracy": overall["accuracy"],
            "recall_weighted": overall["accuracy"],
            "top5_accuracy": overall["top5_accuracy"],
            **_averages(matrix, classes),
            **confidence_scores(counts),
        },
        intervals=METHODS,
        confusion=matrix.to_report(),
        per_class=classes,
        calibration=build_calibration(counts["calibration"]),
        confidence=build_confidences(counts["confidence"]),
        runs=build_runs(counts["runs"]),
        failures=build_failures(counts["failures"]),
        overall=overall,
        slices={name: sliced.get(name, []) for name in sorted({*DEFAULT_SLICES, *sliced, *overflows})},
        throughput=build_throughput(counts["periods"]),
        exemplars=list_errors(counts["exemplars"]),
        notes=[],
        bad_parts=sorted(counts["bad_parts"]["sentence"].to_pylist()),
    )
    waits = timed_records(counts)[OVERALL, None].get(WAITS[0], 0)
    return report | {"notes": build_notes(report, overflows, without_waits=_classified(report) - waits)}


def _classified(report: Report) -> int:
    return report["coverage"]["records"] - report["coverage"]["errors"]


def _averages(matrix: ConfusionMatrix, classes: list[ClassRow]) -> dict[str, Measure]:
    """The measures of the whole matrix; for a single class its F1 is the average, with the same interval."""
    if not classes:
        return dict.fromkeys(STATISTICS, UNKNOWN)
    ends = matrix_intervals(matrix)
    values = zip(STATISTICS, matrix_statistics(*matrix.margins()).tolist(), strict=True)
    measures = {name: _measure(value, *ends[name]) for name, value in values}
    if len(classes) == 1:
        measures |= dict.fromkeys(("f1_macro", "f1_weighted"), classes[0]["f1"])
    return measures


def _measure(value: float, low: float, high: float) -> Measure:
    return Measure(value=_finite(value), low=_finite(low), high=_finite(high))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _per_class(matrix: ConfusionMatrix) -> list[ClassRow]:
    margins = (margin.astype(np.int64).tolist() for margin in matrix.margins())
    return [
        ClassRow(
            name=name,
            support=support,
            predicted=predicted,
            correct=correct,
            precision=wilson_interval(correct, predicted),
            recall=wilson_interval(correct, support),
            f1=_f1(correct, support + predicted),
        )
        for name, correct, support, predicted in zip(matrix.classes, *margins, strict=True)
    ]


def _f1(correct: int, both: int) -> Measure:
    """F1 is 2J / (1 + J), where J is the share with both among the records with the label or the prediction."""
    share = wilson_interval(correct, both - correct)
    if share["value"] is None:
        return UNKNOWN
    value = 2 * correct / both
    low, high = (2 * end / (1 + end) for end in (share["low"], share["high"]) if end is not None)
    return Measure(value=value, low=min(low, value), high=max(high, value))
