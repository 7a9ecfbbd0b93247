"""The tables of a report as CSV files."""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from hybrid_batch.data.log.csv_text import escape_formula
from hybrid_batch.evaluation.report_schema import Measure, Report, Slice

_MEASURES = ("precision", "recall", "f1")
_ENDS = ("", "_low", "_high")
_COUNTS = ("records", "errors", "unlabelled", "labelled")
_BYTES = ("image_bytes", "cut_bytes", "sent_bytes", "received_bytes")
_TIMES = ("mean_us", "min_us", "max_us", "p50_us", "p90_us", "p95_us", "p99_us", "p999_us")
_QUOTED = re.compile('[",\r\n]')

Row = Sequence[str | int | float | None]


def csv_files(report: Report) -> dict[str, bytes]:
    """`confusion.csv`, `per_class.csv`, `slices.csv`, `latency.csv` and `failures.csv` by name, in UTF-8.

    Unknown values are empty cells; texts that start a formula are escaped. Bytes are sums over classified records.
    """
    return {
        "confusion.csv": _csv(["label", "prediction", "records"], _confusion(report)),
        "per_class.csv": _csv(
            ["class", "support", "predicted", "correct", *(f"{name}{end}" for name in _MEASURES for end in _ENDS)],
            _per_class(report),
        ),
        "slices.csv": _csv(["by", "value", *_COUNTS, *(f"accuracy{end}" for end in _ENDS), *_BYTES], _slices(report)),
        "failures.csv": _csv(["image", "error"], ((entry["image"], entry["error"]) for entry in report["failures"])),
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


def _slices(report: Report) -> Iterator[Row]:
    for by, entries in _all_slices(report).items():
        for entry in entries:
            counts = (entry["records"], entry["errors"], entry["unlabelled"], entry["labelled"])
            ends = (entry["accuracy"]["value"], entry["accuracy"]["low"], entry["accuracy"]["high"])
            sizes = (entry["image_bytes"], entry["cut_bytes"], entry["sent_bytes"], entry["received_bytes"])
            yield by, entry["value"], *counts, *ends, *sizes


def _all_slices(report: Report) -> Mapping[str, Sequence[Slice]]:
    return {"": [report["overall"]], **report["slices"]}


def _latency(report: Report) -> Iterator[Row]:
    for by, entries in _all_slices(report).items():
        for entry in entries:
            for stage, times in entry["stages"].items():
                values: Mapping[str, object] = times
                numbers = [value for name in _TIMES if isinstance(value := values[name], int | float)]
                yield by, entry["value"], stage, entry["records"] - entry["errors"], *numbers


def _csv(heading: Row, rows: Iterable[Row]) -> bytes:
    return "".join(",".join(map(_cell, row)) + "\n" for row in itertools.chain([heading], rows)).encode()


def _cell(value: str | float | None) -> str:
    """Python's csv module leaves a carriage return without quotes, and programs read what follows as a new row."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return str(value)
    text = escape_formula(value)
    return '"{}"'.format(text.replace('"', '""')) if _QUOTED.search(text) else text
