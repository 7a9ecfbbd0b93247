"""The report in a terminal."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from data.records import STAGES
from evaluation.metrics import Confusion, Cut
from evaluation.report import Report

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

MATRIX_CLASSES = 20
WORST = 10


def print_report(report: Report, console: "Console | None" = None) -> None:
    """Print the headline numbers, the confusion matrix (or the worst confusions) and a table for each cut.

    On standard output unless another console is given."""
    from rich.console import Console

    console = console or Console(highlight=False)

    def say(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    for line in _headline(report):
        say(line)
    if report["confusion"]:
        title, table = _confusion(report["confusion"], console)
        say(f"\n{title}")
        if table.row_count:
            console.print(table)
    for name, cut in sorted(report["cuts"].items()):
        say(f"\n{_cut_title(name, cut)}")
        console.print(_cut_table(cut))


def _headline(report: Report) -> Iterator[str]:
    coverage = report["coverage"]
    if report["accuracy"] is None:
        yield "accuracy   unknown: no classified record has a label"
    else:
        correct = sum(row.get(label, 0) for label, row in report["confusion"].items())
        yield f"accuracy   {report['accuracy']:.4f} ({correct:,} of {coverage['labelled']:,})"
    yield (
        f"records    {coverage['records']:,} "
        f"({coverage['errors']:,} with an error, {coverage['unlabelled']:,} without a label)"
    )


def _confusion(matrix: Confusion, console: "Console") -> "tuple[str, Table]":
    """The whole matrix where it is small and fits the width, else the worst confusions."""
    classes = sorted(set(matrix).union(*matrix.values()))
    if len(classes) <= MATRIX_CLASSES:
        table = _matrix(matrix, classes)
        boundless = console.options.update(width=10_000)  # measuring stops at the width it is given
        if console.measure(table, options=boundless).maximum <= console.width:
            return "confusion: a row for each label, a column for each prediction", table
    wrong = sorted(
        (-n, label, prediction) for label, row in matrix.items() for prediction, n in row.items() if prediction != label
    )
    shown = [(label, prediction, -n) for n, label, prediction in wrong[:WORST]]
    title = f"worst {len(shown)} of {len(wrong):,} confusions among {len(classes):,} classes"
    return title, _worst(matrix, shown)


def _matrix(matrix: Confusion, classes: list[str]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table("", box=None)
    for name in classes:
        table.add_column(Text(name), justify="right", no_wrap=True)
    for label in classes:
        row = matrix.get(label, {})
        cells = (
            Text(f"{row[name]:,}", style="bold green" if name == label else "red") if name in row else "·"
            for name in classes
        )
        table.add_row(Text(label), *cells)
    return table


def _worst(matrix: Confusion, confusions: list[tuple[str, str, int]]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table("label", "prediction", box=None)
    table.add_column("records", justify="right")
    table.add_column("of the label", justify="right")
    for label, prediction, n in confusions:
        share = n / sum(matrix[label].values())
        table.add_row(Text(label), Text(prediction), f"{n:,}", f"{share:.1%}")
    return table


def _cut_title(name: str, cut: Cut) -> str:
    title = f"cut {name}: {cut['records']:,} records, {_bytes(cut['sent_bytes'])} sent"
    if cut["sent_share"] is None:
        return title
    return f"{title}, {cut['sent_share']:.1%} of the {_bytes(cut['image_bytes'])} of the images"


def _cut_table(cut: Cut) -> "Table":
    from rich.table import Table

    table = Table("stage", box=None)
    for heading in ("mean", "p50", "p95", "p99"):
        table.add_column(heading, justify="right")
    for stage in STAGES:
        times = cut["stages"][stage]
        values = (times["mean_us"], times["p50_us"], times["p95_us"], times["p99_us"])
        table.add_row(stage, *map(_time, values))
    return table


def _time(value_us: float) -> str:
    if abs(value_us) < 1e3:
        return f"{value_us:.2f} µs"
    return f"{value_us / 1e3:.2f} ms" if abs(value_us) < 1e6 else f"{value_us / 1e6:,.2f} s"


def _bytes(count: int) -> str:
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.4g} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"
