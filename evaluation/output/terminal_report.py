"""A report as text and tables in a terminal."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hybrid_batch.data.log.records import STAGES
from hybrid_batch.evaluation.output import units
from hybrid_batch.evaluation.report_schema import HEADLINE, QUANTILES, Confusion, Measure, Report, Slice

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

MAX_MATRIX_CLASSES = 20
MAX_CONFUSIONS = 10
MAX_SLICES = 20

_Cells = dict[tuple[int, int], int]


def print_report(report: Report, console: "Console | None" = None) -> None:
    """Print the headline numbers, the confusion matrix (or the worst confusions), the times by cut and the slices.

    The default console is standard output."""
    from hybrid_batch.data.terminal.console import open_console

    console = console or open_console()

    def print_line(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    for line in _headline(report):
        print_line(line)
    if report["confusion"]["records"]:
        console.print(_measures(report))
        title, table = _confusion(report["confusion"], console)
        print_line(f"\n{title}")
        if table.row_count:
            console.print(table)
    for cut in report["slices"]["cut"]:
        print_line(f"\n{_cut_title(cut)}")
        console.print(_times(cut))
    for by, slices in report["slices"].items():
        if len(slices) > 1 and by not in ("label", "prediction"):
            print_line(f"\nby {by}{f', the {MAX_SLICES} with most records' if len(slices) > MAX_SLICES else ''}")
            console.print(_slices(by, slices))
    for note in (*report["notes"], *report["bad_parts"]):
        print_line(f"\nNote: {note}")


def _headline(report: Report) -> Iterator[str]:
    coverage, accuracy = report["coverage"], report["headline"]["accuracy"]
    if accuracy["value"] is None:
        yield "accuracy   unknown: no classified record has a label"
    else:
        correct = sum(row["correct"] for row in report["per_class"])
        yield f"accuracy   {accuracy['value']:.4f} ({correct:,} of {coverage['labelled']:,}), 95 % {_ends(accuracy)}"
    yield (
        f"records    {coverage['records']:,} "
        f"({coverage['errors']:,} with an error, {coverage['unlabelled']:,} without a label)"
    )
    speed = report["throughput"]["images_per_s"]
    if speed is not None:
        yield f"throughput {speed:,.1f} images/s over {report['throughput']['active_s']:,.1f} s"
    ece, null = (report["calibration"]["equal_width"][name] for name in ("ece", "ece_null_p95"))
    if ece is not None and null is not None:
        verdict = "no more than" if ece <= null else "more than"
        yield f"calibration error {ece:.4f}, {verdict} perfect confidences would show ({null:.4f}, 95 %)"


def _measures(report: Report) -> "Table":
    from rich.table import Table

    table = Table("measure", box=None)
    table.add_column("value", justify="right")
    table.add_column("95 % interval", justify="right")
    for name in HEADLINE:
        measure = report["headline"][name]
        if measure["value"] is not None and name not in ("accuracy", "recall_weighted"):
            table.add_row(name.replace("_", " "), f"{measure['value']:.4f}", _ends(measure))
    return table


def _ends(measure: Measure, digits: int = 4) -> str:
    low, high = measure["low"], measure["high"]
    return units.DASH if low is None else f"{low:.{digits}f} to {high:.{digits}f}"


def _confusion(confusion: Confusion, console: "Console") -> "tuple[str, Table]":
    """The whole matrix if it is small and fits the console's width, else the worst confusions."""
    classes = confusion["classes"]
    cells = zip(zip(confusion["label"], confusion["prediction"], strict=True), confusion["records"], strict=True)
    matrix: _Cells = dict(cells)
    if len(classes) <= MAX_MATRIX_CLASSES:
        table = _matrix(matrix, classes)
        unbounded = console.options.update(width=10_000)  # rich measures up to the width of its options
        if console.measure(table, options=unbounded).maximum <= console.width:
            return "confusion: a row for each label, a column for each prediction", table
    wrong = sorted((-n, *cell) for cell, n in matrix.items() if cell[0] != cell[1])
    shown = wrong[:MAX_CONFUSIONS]
    title = f"worst {len(shown)} of {len(wrong):,} confusions among {len(classes):,} classes"
    return title, _worst(matrix, classes, shown)


def _matrix(matrix: _Cells, classes: list[str]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table("", box=None)
    for name in classes:
        table.add_column(Text(name), justify="right", no_wrap=True)
    for label, name in enumerate(classes):
        cells = (
            Text(f"{matrix[label, place]:,}", style="bold green" if place == label else "red")
            if (label, place) in matrix
            else "·"
            for place in range(len(classes))
        )
        table.add_row(Text(name), *cells)
    return table


def _worst(matrix: _Cells, classes: list[str], confusions: list[tuple[int, int, int]]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table("label", "prediction", box=None)
    table.add_column("records", justify="right")
    table.add_column("of the label", justify="right")
    for minus, label, prediction in confusions:
        share = -minus / sum(n for (other, _), n in matrix.items() if other == label)
        table.add_row(Text(classes[label]), Text(classes[prediction]), f"{-minus:,}", f"{share:.1%}")
    return table


def _cut_title(cut: Slice) -> str:
    records = cut["records"] - cut["errors"]
    title = f"cut {_value(cut)}: {records:,} records, {units.byte_size(cut['sent_bytes'])} sent"
    if cut["sent_share"] is None:
        return title
    return f"{title}, {cut['sent_share']:.1%} of the {units.byte_size(cut['image_bytes'])} of the images"


def _times(cut: Slice) -> "Table":
    from rich.table import Table

    table = Table("stage", box=None)
    for heading in ("mean", *(name.removesuffix("_us") for name in QUANTILES), "max"):
        table.add_column({"p999": "p99.9"}.get(heading, heading), justify="right")
    for stage in STAGES:
        if stage in cut["stages"]:
            times = cut["stages"][stage]
            quantiles = (times["p50_us"], times["p90_us"], times["p95_us"], times["p99_us"], times["p999_us"])
            table.add_row(stage, *map(units.duration, (times["mean_us"], *quantiles, times["max_us"])))
    return table


def _slices(by: str, slices: list[Slice]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    failed = any(entry["errors"] for entry in slices)
    table = Table(box=None)
    table.add_column(by, min_width=9)  # else the numbers take its whole width in 80 columns
    for heading in ("records", *(["errors"] if failed else []), "accuracy", "95 % interval", "sent each", "p50", "p99"):
        table.add_column(heading, justify="right", no_wrap=True)
    for entry in sorted(slices, key=lambda entry: -entry["records"])[:MAX_SLICES]:
        classified = entry["records"] - entry["errors"]
        latency = entry["stages"].get("latency")
        accuracy = entry["accuracy"]["value"]
        table.add_row(
            Text(_value(entry)),
            f"{entry['records']:,}",
            *([f"{entry['errors']:,}"] if failed else []),
            units.DASH if accuracy is None else f"{accuracy:.4f}",
            _ends(entry["accuracy"], 3),
            units.byte_size(round(entry["sent_bytes"] / classified)) if classified else units.DASH,
            *((units.duration(latency["p50_us"]), units.duration(latency["p99_us"])) if latency else ()),
        )
    return table


def _value(entry: Slice) -> str:
    return "none" if entry["value"] is None else entry["value"] or "(empty)"
