"""Notes for the reader of a report, one sentence each. They are part of its bytes: a new wording is a new report."""

from collections.abc import Iterator, Sequence

from hybrid_batch.evaluation.counting.counts import MAX_VALUES
from hybrid_batch.evaluation.report_schema import Report

_MAX_NAMES = 5
_MIN_GAIN = 0.1  # of accuracy, by exchanging names of classes


def build_notes(report: Report, overflows: Sequence[str], without_waits: int) -> list[str]:
    """Sentences about missing labels, predictions, confidences and waits, and about columns with too many values.

    `without_waits` is the number of classified records without waiting times.
    """
    return [
        *_coverage(report),
        *_exchanged(report),
        *_classes(report),
        *_waits(report, without_waits),
        *_sliced(overflows),
    ]


def _coverage(report: Report) -> Iterator[str]:
    coverage = report["coverage"]
    records, labelled = coverage["records"], coverage["labelled"]
    if not records:
        yield "The runs have no records."
    elif coverage["errors"] == records:
        yield f"None of the {records:,} records was classified; the column `error` has the reasons."
    elif not labelled:
        yield "No classified record has a label, so accuracy and confusions are unknown."
    missing = labelled - report["calibration"]["records"]
    if missing:
        verbs = "has no confidence in [0, 1] and is" if missing == 1 else "have no confidence in [0, 1] and are"
        yield f"{missing:,} of the {labelled:,} labelled records {verbs} not calibrated."


def _exchanged(report: Report) -> Iterator[str]:
    """A sentence if the accuracy would be much higher with the names of the classes in another order."""
    confusion = report["confusion"]
    most: dict[int, tuple[int, int]] = {}  # by prediction, the most frequent label and its number of records
    right: dict[int, int] = {}
    for label, prediction, records in zip(
        confusion["label"], confusion["prediction"], confusion["records"], strict=True
    ):
        if records > most.get(prediction, (0, 0))[1]:
            most[prediction] = label, records
        if label == prediction:
            right[label] = records
    if len({label for label, _ in most.values()}) < len(most):
        return
    moved = {prediction: label for prediction, (label, _) in most.items() if label != prediction}
    if moved.keys() != set(moved.values()):  # not only an exchange among these classes
        return
    labelled = report["coverage"]["labelled"]
    gain = sum(most[place][1] - right.get(place, 0) for place in moved)
    if moved and gain >= _MIN_GAIN * labelled:
        names, correct = confusion["classes"], sum(right.values())
        pairs = [f"{names[prediction]} → {names[label]}" for prediction, label in sorted(moved.items())]
        yield (
            f"The names of {len(moved):,} classes look exchanged ({_join_names(pairs)}): corrected, the accuracy would "
            f"be {(correct + gain) / labelled:.4f}; check that the classes given at import are in the output's order."
        )


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
        of = "The records have" if missing == classified else f"{missing:,} of the {classified:,} classified records"
        of += "" if missing == classified else " has" if missing == 1 else " have"
        yield f"{of} no waiting times (version 1 of the log), so stages do not add up to the latency."


def _sliced(overflows: Sequence[str]) -> Iterator[str]:
    for name in sorted(overflows):
        yield f"No slices by {name}: it has more than {MAX_VALUES:,} values."


def _join_names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MAX_NAMES])
    return f"{shown} and {len(names) - _MAX_NAMES:,} more" if len(names) > _MAX_NAMES else shown
