"""Notes for the reader of a report, one sentence each. They are part of its bytes: a new wording is a new report."""

from collections.abc import Iterator, Sequence

from hybrid_batch.evaluation.counting.counts import MAX_VALUES
from hybrid_batch.evaluation.report_schema import Report

_MAX_NAMES = 5


def build_notes(report: Report, overflows: Sequence[str], without_waits: int) -> list[str]:
    """Sentences about missing labels, predictions, confidences and waits, and about columns with too many values.

    `without_waits` is the number of classified records without waiting times.
    """
    return [*_coverage(report), *_classes(report), *_waits(report, without_waits), *_sliced(overflows)]


def _coverage(report: Report) -> Iterator[str]:
    coverage = report["coverage"]
    records, labelled = coverage["records"], coverage["labelled"]
    if not records:
        yield "There are no records."
    elif coverage["errors"] == records:
        yield f"Not one of the {records:,} records was classified; their `error` says why."
    elif not labelled:
        yield "No classified record has a label, so accuracy and confusions are unknown."
    missing = labelled - report["calibration"]["records"]
    if missing:
        yield f"{missing:,} of the {labelled:,} labelled records have no confidence in [0, 1] and are not calibrated."


def _classes(report: Report) -> Iterator[str]:
    rows = report["per_class"]
    never_predicted = [row["name"] for row in rows if not row["predicted"]]
    if never_predicted:
        one = len(never_predicted) == 1
        yield (
            f"{len(never_predicted):,} {'class was' if one else 'classes were'} never predicted "
            f"({_join_names(never_predicted)}); precision is unknown and counts as 0 in averages."
        )
    never_true = [row["name"] for row in rows if not row["support"]]
    if never_true:
        one = len(never_true) == 1
        yield (
            f"{len(never_true):,} {'class was' if one else 'classes were'} predicted though no record has "
            f"{'it' if one else 'them'} as label ({_join_names(never_true)}); recall counts as 0 in macro averages."
        )


def _waits(report: Report, missing: int) -> Iterator[str]:
    classified = report["coverage"]["records"] - report["coverage"]["errors"]
    if missing:
        of = "The" if missing == classified else f"{missing:,} of the {classified:,} classified"
        yield (
            f"{of} records have no waiting times (version 1 of the log): "
            "their stages do not add up to their latency."
        )


def _sliced(overflows: Sequence[str]) -> Iterator[str]:
    for name in sorted(overflows):
        yield f"There are no slices by {name}: it has more than {MAX_VALUES:,} values."


def _join_names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MAX_NAMES])
    return f"{shown} and {len(names) - _MAX_NAMES:,} more" if len(names) > _MAX_NAMES else shown
