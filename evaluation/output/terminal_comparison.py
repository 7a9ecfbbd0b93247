"""A comparison as text and tables in a terminal."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from hybrid_batch.data.terminal.numbers import format_count
from hybrid_batch.evaluation.comparison.comparison import Comparison, ComparisonCoverage, ComparisonSlice, Ratio
from hybrid_batch.evaluation.output import units

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

MAX_SLICES = 10
SIGNIFICANCE_LEVEL = 0.05
_TIMES = ("mean_us", "p95_us")  # they fit 80 columns; the JSON has all quantiles


def print_comparison(comparison: Comparison, console: "Console | None" = None) -> None:
    """Print the differences and their significance, the slices that differ most, and the times and bytes of both runs.

    The default console is standard output."""
    from hybrid_batch.data.terminal.console import open_console

    console = console or open_console()

    def print_line(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    for line in (*_coverage(comparison["coverage"]), *_overall(comparison["overall"])):
        print_line(line)
    for line in (*_changed(comparison["coverage"]), *comparison["notes"], *comparison["bad_parts"]):
        print_line(line)
    for column, slices in comparison["slices"].items():
        if column == "folder" and slices == comparison["slices"].get("label"):
            continue  # each class has its own folder: the same table
        differing = _differing(slices)
        if any(entry["labelled"] for entry in slices):
            print_line(f"\n{_title(column, slices, differing)}")
        if differing:
            console.print(_slices(column, differing[:MAX_SLICES]))
    times = {"": comparison["stages"]} | (comparison["cuts"] if len(comparison["cuts"]) > 1 else {})
    for cut, stages in times.items():
        if stages:
            print_line(f"\ntimes{f' of cut {cut}' if cut else ''}")
            console.print(_stages(stages))
    if comparison["coverage"]["classified"]:
        print_line("\nbytes")
        console.print(_bytes(comparison["bytes"]))


def _coverage(coverage: ComparisonCoverage) -> Iterator[str]:
    yield (
        f"images      {coverage['both']:,} in both runs, {coverage['classified']:,} classified by both "
        f"(errors: A {coverage['errors_a']:,}, B {coverage['errors_b']:,}), {coverage['labelled']:,} with a label"
    )
    for side, count, names in (
        ("A", coverage["only_a"], coverage["only_a_images"]),
        ("B", coverage["only_b"], coverage["only_b_images"]),
    ):
        if count:
            yield f"only in {side}   {count:,}: {', '.join(names)}{', …' if count > len(names) else ''}"


def _changed(coverage: ComparisonCoverage) -> Iterator[str]:
    if coverage["changed"]:
        first = coverage["changed_images"]
        more = f", the first {len(first)} by name" if coverage["changed"] > len(first) else ""
        yield f"\nchanged predictions: {format_count(coverage['changed'], 'image')}{more}"
        yield from (f"  {one['image']}: {one['a']} → {one['b']}" for one in first)


def _overall(overall: ComparisonSlice) -> Iterator[str]:
    if overall["images"]:
        agreement = overall["agreement"]
        yield f"agreement   {units.ratio(agreement['value'])}, 95 % {units.ends(agreement)}"
    if overall["mid_p"] is None or overall["exact_p"] is None:
        yield "accuracy    unknown: no image classified by both runs has a label"
        return
    difference = overall["difference"]
    a, b = (units.ratio(overall[name]["value"]) for name in ("accuracy_a", "accuracy_b"))
    yield (
        f"accuracy    A {a}, B {b}: {_points(difference['value'])} pt, "
        f"95 % {_points(difference['low'])} to {_points(difference['high'])} pt"
    )
    yield (
        f"McNemar     A alone right {overall['only_a_right']:,}, B alone {overall['only_b_right']:,}: "
        f"p = {_p(overall['exact_p'])} exact, {_p(overall['mid_p'])} mid-p"
    )


def _differing(slices: Sequence[ComparisonSlice]) -> list[ComparisonSlice]:
    """The slices with an image that only one run classified correctly, by ascending p-value."""
    differing = [entry for entry in slices if entry["only_a_right"] or entry["only_b_right"]]
    return sorted(differing, key=lambda entry: (entry["mid_p"] or 0.0, -abs(entry["difference"]["value"] or 0.0)))


def _title(column: str, slices: Sequence[ComparisonSlice], differing: Sequence[ComparisonSlice]) -> str:
    significant = sum(entry["holm_p"] is not None and entry["holm_p"] < SIGNIFICANCE_LEVEL for entry in slices)
    title = f"by {column}: {significant:,} of {len(slices):,} differ significantly (Holm's p < {SIGNIFICANCE_LEVEL:g})"
    if len(differing) > MAX_SLICES:
        return f"{title}; the first {MAX_SLICES} of {len(differing):,} with a changed answer"
    same = len(slices) - len(differing)
    return f"{title}; {same:,} without a changed answer not listed" if differing and same else title


def _slices(column: str, slices: Sequence[ComparisonSlice]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(column, box=None)
    for heading in ("images", "A", "B", "B - A, pt", "95 %", "Holm's p"):
        table.add_column(heading, justify="right")
    for entry in slices:
        difference, p = entry["difference"], entry["holm_p"]
        table.add_row(
            Text(units.DASH if entry["value"] is None else entry["value"]),
            f"{entry['labelled']:,}",
            units.ratio(entry["accuracy_a"]["value"]),
            units.ratio(entry["accuracy_b"]["value"]),
            _points(difference["value"]),
            f"{_points(difference['low'])} to {_points(difference['high'])}",
            Text(_p(p), style="bold" if p is not None and p < SIGNIFICANCE_LEVEL else ""),
        )
    return table


def _stages(stages: dict[str, dict[str, Ratio]]) -> "Table":
    from rich.table import Table

    table = Table("stage", box=None)
    for name in _TIMES:
        for heading in (f"A {name.removesuffix('_us')}", f"B {name.removesuffix('_us')}", "B/A"):
            table.add_column(heading, justify="right")
    for stage, ratios in stages.items():
        if not any(ratios[name][side] for name in _TIMES for side in ("a", "b")):
            continue
        cells = [
            cell
            for name in _TIMES
            for cell in (units.duration(ratios[name]["a"]), units.duration(ratios[name]["b"]), _ratio(ratios[name]))
        ]
        table.add_row(stage, *cells)
    return table


def _bytes(sizes: dict[str, Ratio]) -> "Table":
    from rich.table import Table

    table = Table("", "A", "B", "B/A", box=None)
    for name, ratio in sizes.items():
        table.add_row(
            name.removesuffix("_bytes"), units.byte_size(ratio["a"]), units.byte_size(ratio["b"]), _ratio(ratio)
        )
    return table


def _ratio(ratio: Ratio) -> str:
    return units.DASH if ratio["ratio"] is None else f"{ratio['ratio']:.3g}"


def _points(value: float | None) -> str:
    return units.DASH if value is None else f"{100 * value:+.2f}"


def _p(value: float | None) -> str:
    if value is None:
        return units.DASH
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1e}"
