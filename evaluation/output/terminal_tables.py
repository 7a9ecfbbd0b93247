"""The tables of a report in a terminal. Rich is imported where a table is built, because it takes 60 ms."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hybrid_batch.data.terminal.numbers import format_count
from hybrid_batch.evaluation.output import units
from hybrid_batch.evaluation.output.measures import UNTIMED_COLUMNS, measure_name, shown_measures
from hybrid_batch.evaluation.report_schema import (
    LATENCY_PARTS,
    QUANTILES,
    ClassRow,
    Confusion,
    Failure,
    Measure,
    Slice,
    StageLatency,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

MAX_CLASSES = 20
MAX_CONFUSIONS = 10
MAX_PREDICTIONS = 10
MAX_REASONS = 10
MAX_SLICES = 20

_Cells = dict[tuple[int, int], int]


def measures(headline: Mapping[str, Measure], classes: int) -> "Table":
    """The measures beside the accuracy, with their intervals."""
    table = _table("measure", "value", "95 % interval")
    for name in shown_measures(headline, classes):
        measure = headline[name]
        if name != "accuracy":
            table.add_row(measure_name(name), f"{measure['value']:.4f}", units.ends(measure))
    return table


def failures(listed: Sequence[Failure]) -> "Table":
    """The reasons by number of images, each with its first image."""
    from rich.text import Text

    table = _table("reason", "images", "first")
    table.columns[2].justify = "left"
    reasons = Counter(entry["error"] or "no prediction" for entry in listed)
    first = {entry["error"] or "no prediction": entry["image"] for entry in reversed(listed)}
    for reason, images in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))[:MAX_REASONS]:
        table.add_row(Text(reason), f"{images:,}", Text(first[reason]))
    if len(reasons) > MAX_REASONS:
        table.add_row(f"… {len(reasons) - MAX_REASONS:,} other reasons in report.json", "", "")
    return table


def classes(rows: Sequence[ClassRow]) -> "Table":
    """Precision, recall and F1 of each class."""
    from rich.text import Text

    table = _table("class", "labels", "predictions", "precision", "recall", "F1")
    for row in rows:
        values = (row[name]["value"] for name in ("precision", "recall", "f1"))
        table.add_row(Text(row["name"]), f"{row['support']:,}", f"{row['predicted']:,}", *map(units.ratio, values))
    return table


def predictions(slices: Sequence[Slice]) -> "Table":
    """The most frequent predictions."""
    from rich.text import Text

    table = _table("prediction", "records", "share")
    total = sum(entry["records"] for entry in slices)
    for entry in sorted(slices, key=lambda entry: -entry["records"])[:MAX_PREDICTIONS]:
        table.add_row(Text(value_text(entry)), f"{entry['records']:,}", f"{entry['records'] / total:.1%}")
    return table


def confusion(cells: Confusion, console: "Console") -> "tuple[str, Table]":
    """The title and the table: the whole matrix if it is small and fits the console's width, else the worst confusions.

    The table has no rows where every confusion has one record, and they are many."""
    names = cells["classes"]
    matrix: _Cells = dict(zip(zip(cells["label"], cells["prediction"], strict=True), cells["records"], strict=True))
    if len(names) <= MAX_CLASSES:
        table = _matrix(matrix, names)
        unbounded = console.options.update(width=10_000)  # rich measures up to the width of its options
        if console.measure(table, options=unbounded).maximum <= console.width:
            return "confusion: a row for each label, a column for each prediction", table
    wrong = sorted((-records, *cell) for cell, records in matrix.items() if cell[0] != cell[1])
    if len(wrong) > MAX_CONFUSIONS and wrong[0][0] == -1:
        title = f"{len(wrong):,} confusions among {len(names):,} classes, of one record each; confusion.csv lists them"
        return title, _worst(matrix, names, [])
    shown = wrong[:MAX_CONFUSIONS]
    title = f"worst {len(shown)} of {format_count(len(wrong), 'confusion')} among {len(names):,} classes"
    return title, _worst(matrix, names, shown)


def _matrix(matrix: _Cells, names: Sequence[str]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table("", box=None)
    for name in names:
        table.add_column(Text(name), justify="right", no_wrap=True)
    for label, name in enumerate(names):
        cells = (
            Text(f"{matrix[label, place]:,}", style="bold green" if place == label else "red")
            if (label, place) in matrix
            else "·"
            for place in range(len(names))
        )
        table.add_row(Text(name), *cells)
    return table


def _worst(matrix: _Cells, names: Sequence[str], confusions: Sequence[tuple[int, int, int]]) -> "Table":
    from rich.text import Text

    table = _table("label", "prediction", "records", "of the label")
    table.columns[1].justify = "left"
    for minus, label, prediction in confusions:
        share = -minus / sum(records for (other, _), records in matrix.items() if other == label)
        table.add_row(Text(names[label]), Text(names[prediction]), f"{-minus:,}", f"{share:.1%}")
    return table


def times(stages: Mapping[str, StageLatency]) -> "Table":
    """Mean, quantiles and maximum of each stage and wait, in the order in which an image passes through them.

    Those that took no time are left out, as the link of a run whose tail is in its process."""
    table = _table("stage", "mean", *(name.removesuffix("_us") for name in QUANTILES), "max")
    table.columns[-2].header = "p99.9"
    for stage in (*LATENCY_PARTS, "latency"):
        if stage in stages and (stages[stage]["max_us"] or stage == "latency"):
            of = stages[stage]
            quantiles = (of["p50_us"], of["p90_us"], of["p95_us"], of["p99_us"], of["p999_us"])
            table.add_row(stage.replace("_", " "), *map(units.duration, (of["mean_us"], *quantiles, of["max_us"])))
    return table


def slices(by: str, entries: Sequence[Slice]) -> "Table":
    """The values with most records, in their order."""
    from rich.text import Text

    most = sorted(range(len(entries)), key=lambda place: -entries[place]["records"])[:MAX_SLICES]
    failed, timed = any(entry["errors"] for entry in entries), by not in UNTIMED_COLUMNS
    headings = ("records", *(["failed"] if failed else []), "accuracy", "95 % interval", "bytes/image")
    table = _table(by, *headings, *(("p50", "p99") if timed else ()))
    table.columns[0].min_width = 9  # else the numbers take its whole width in 80 columns
    for column in table.columns[1:]:
        column.no_wrap = True
    for entry in (entries[place] for place in sorted(most)):
        classified = entry["records"] - entry["errors"]
        latency = entry["stages"].get("latency")
        cells = [f"{entry['records']:,}", *([f"{entry['errors']:,}"] if failed else [])]
        cells += [units.ratio(entry["accuracy"]["value"]), units.ends(entry["accuracy"], 3)]
        cells += [units.byte_size(round(entry["cut_bytes"] / classified)) if classified else units.DASH]
        if timed and latency:
            cells += [units.duration(latency["p50_us"]), units.duration(latency["p99_us"])]
        table.add_row(Text(value_text(entry)), *cells)
    return table


def value_text(entry: Slice) -> str:
    """The value of a slice."""
    return "none" if entry["value"] is None else entry["value"] or "(empty)"


def _table(*headings: str) -> "Table":
    """A table with its first column to the left and the others to the right."""
    from rich.table import Table

    table = Table(headings[0], box=None)
    for heading in headings[1:]:
        table.add_column(heading, justify="right")
    return table
