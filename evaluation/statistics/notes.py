"""Notes for the reader of a report, one sentence each. They are part of its bytes: a new wording is a new report."""

from collections.abc import Iterator, Sequence

from hybrid_batch.evaluation.counting.counts import MAX_VALUES
from hybrid_batch.evaluation.report_schema import Report

_MAX_NAMES = 5


def build_notes(report: Report, overflows: Sequence[str]) -> list[str]:
    """Sentences about missing labels, predictions and confidences, and about columns with too many values."""
    return [*_coverage(report), *_classes(report), *_sliced(overflows)]


def _coverage(report: Report) -> Iterator[str]:
    coverage = report["coverage"]
    records, labelled = coverage["records"], coverage["labelled"]
    if not records:
        yield "There are no records."
    elif coverage["errors"] == records:
        yield f"Not one of the {records:,} records was classified; their `error` says why."
    elif not labelled:
        yield "No classified record has a label: only times and bytes are known."
    missing = labelled - report["calibration"]["records"]
    if missing:
        yield f"{missing:,} of the {labelled:,} labelled records have no confidence in [0, 1] and are not calibrated."


def _classes(report: Report) -> Iterator[str]:
    rows = report["per_class"]
    never_predicted = [row["name"] for row in rows if not row["predicted"]]
    if never_predicted:
        yield f"Never predicted: {_join_names(never_predicted)}; their precision is unknown and counts 0 in averages."
    never_true = [row["name"] for row in rows if not row["support"]]
    if never_true:
        yield f"Predicted, but the label of no record: {_join_names(never_true)}; their recall counts 0 in averages."


def _sliced(overflows: Sequence[str]) -> Iterator[str]:
    for name in sorted(overflows):
        yield f"There are no slices by {name}: it has more than {MAX_VALUES:,} values."


def _join_names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MAX_NAMES])
    return f"{shown} and {len(names) - _MAX_NAMES:,} more classes" if len(names) > _MAX_NAMES else shown
