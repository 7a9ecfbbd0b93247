"""The report: everything there is to say of records, as one dict and as one canonical JSON text.

It is a function of the counts alone. So the same records give the same bytes on whatever engine, in whatever
shards, local or in a bucket.
"""

import json
import math

import numpy as np

from hybrid_batch.evaluation.counting.confident_errors import exemplars
from hybrid_batch.evaluation.counting.counts import OVERALL, Counts
from hybrid_batch.evaluation.report_schema import REPORT_VERSION, SLICED_BY, ClassRow, Coverage, Measure, Report
from hybrid_batch.evaluation.statistics.calibration import calibration, score_intervals
from hybrid_batch.evaluation.statistics.confusion_matrix import STATISTICS, Matrix, matrix, statistics
from hybrid_batch.evaluation.statistics.intervals import UNKNOWN, matrix_intervals, wilson
from hybrid_batch.evaluation.statistics.notes import notes
from hybrid_batch.evaluation.statistics.slices import no_records, slices
from hybrid_batch.evaluation.statistics.throughput import throughput


def build(counts: Counts) -> Report:
    """The report of the records counted; `bad_parts` says which parts could not be, one sentence each."""
    found = matrix(counts["confusion"])
    sliced = slices(counts)
    overall = sliced.pop(OVERALL, [no_records()])[0]
    overflows = counts["overflows"]["by"].to_pylist()
    how, measures = _headline(found)
    scores = score_intervals(counts)
    per_class = _per_class(found)
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
            **measures,
            **scores,
        },
        intervals=how,
        confusion=found.shape,
        per_class=per_class,
        calibration=calibration(counts["calibration"]),
        overall=overall,
        slices={name: sliced.get(name, []) for name in sorted({*SLICED_BY, *sliced, *overflows})},
        throughput=throughput(counts["minutes"]),
        exemplars=exemplars(counts["exemplars"]),
        notes=[],
        bad_parts=sorted(counts["bad_parts"]["sentence"].to_pylist()),
    )
    return report | {"notes": notes(report, overflows)}


def to_json(report: Report) -> str:
    """Canonical JSON on one line: sorted keys, shortest floats that read back equal, ASCII."""
    return json.dumps(report, sort_keys=True, separators=(",", ":"), allow_nan=False)


def from_json(text: str) -> Report:
    """The report that `to_json` wrote."""
    report: Report = json.loads(text)
    return report


def _headline(found: Matrix) -> tuple[str, dict[str, Measure]]:
    """How the intervals were made, and the measures of the whole matrix."""
    if not len(found.records):
        return "none", dict.fromkeys(STATISTICS, UNKNOWN)
    how, low, high = matrix_intervals(found)
    values = statistics(*found.margins())
    columns = np.stack([values, np.fmin(low, values), np.fmax(high, values)], axis=1).tolist()
    return how, {name: _measure(*row) for name, row in zip(STATISTICS, columns, strict=True)}


def _measure(value: float, low: float, high: float) -> Measure:
    return Measure(value=_known(value), low=_known(low), high=_known(high))


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _per_class(found: Matrix) -> list[ClassRow]:
    margins = (margin.astype(np.int64).tolist() for margin in found.margins())
    return [
        ClassRow(
            name=name,
            support=support,
            predicted=predicted,
            correct=correct,
            precision=wilson(correct, predicted),
            recall=wilson(correct, support),
            f1=_f1(correct, support + predicted),
        )
        for name, correct, support, predicted in zip(found.classes, *margins, strict=True)
    ]


def _f1(correct: int, both: int) -> Measure:
    """F1 is 2J / (1 + J) of the share J of the records with the label or the prediction that have both."""
    share = wilson(correct, both - correct)
    if share["value"] is None:
        return UNKNOWN
    value = 2 * correct / both
    low, high = (2 * end / (1 + end) for end in (share["low"], share["high"]) if end is not None)
    return Measure(value=value, low=min(low, value), high=max(high, value))
