"""The tables of a report as CSV files."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence

from hybrid_batch.evaluation.report_schema import Measure, Report, Slice

_MEASURES = ("precision", "recall", "f1")
_ENDS = ("", "_low", "_high")
_TIMES = ("mean_us", "min_us", "max_us", "p50_us", "p90_us", "p95_us", "p99_us", "p999_us")

Row = Sequence[str | int | float | None]


def csv_files(report: Report) -> dict[str, bytes]:
    """`confusion.csv`, `per_class.csv` and `latency.csv` by name, in UTF-8; unknown values are empty cells."""
    return {
        "confusion.csv": _csv(["label", "prediction", "records"], _confusion(report)),
        "per_class.csv": _csv(
            ["class", "support", "predicted", "correct", *(f"{name}{end}" for name in _MEASURES for end in _ENDS)],
            _per_class(report),
        ),
        "latency.csv": _csv(["by", "value", "stage", "classified", *_TIMES], _latency(report)),
    }


def _confusion(report: Report) -> Iterator[Row]:
    confusion = report["confusion"]
    classes = confusion["classes"]
    for label, prediction, records in zip(
        confusion["label"], confusion["prediction"], confusion["records"], strict=True
    ):
        yield classes[label], classes[prediction], records


def _per_class(report: Report) -> Iterator[Row]:
    for row in report["per_class"]:
        measures: Iterable[Measure] = (row["precision"], row["recall"], row["f1"])
        ends = (measure[end] for measure in measures for end in ("value", "low", "high"))
        yield row["name"], row["support"], row["predicted"], row["correct"], *ends


def _latency(report: Report) -> Iterator[Row]:
    slices: Mapping[str, Sequence[Slice]] = {"": [report["overall"]], **report["slices"]}
    for by, entries in slices.items():
        for entry in entries:
            for stage, times in entry["stages"].items():
                values: Mapping[str, object] = times
                numbers = [value for name in _TIMES if isinstance(value := values[name], int | float)]
                yield by, entry["value"], stage, entry["records"] - entry["errors"], *numbers


def _csv(heading: Row, rows: Iterable[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heading)
    writer.writerows(rows)
    return text.getvalue().encode()
