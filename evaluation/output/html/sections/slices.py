"""The records by the values of a column."""

from collections.abc import Sequence

from hybrid_batch.evaluation.output import units
from hybrid_batch.evaluation.output.html.charts.bars import IntervalAxis
from hybrid_batch.evaluation.output.html.markup import Markup
from hybrid_batch.evaluation.output.html.tables import collapsible, section, table
from hybrid_batch.evaluation.output.measures import UNTIMED_COLUMNS
from hybrid_batch.evaluation.report_schema import Report, Slice

MAX_LISTED = 200


def slices(report: Report) -> Markup:
    """A table for each column with more than one value; empty markup where no column has."""
    tables = [
        collapsible(f"By {column}: {len(values):,} values", _table(column, values))
        for column, values in sorted(report["slices"].items())
        if len(values) > 1
    ]
    return section("Slices", *tables) if tables else Markup("")


def _table(column: str, values: Sequence[Slice]) -> Markup:
    """Accuracy where there are labels, and latency unless it would only show the order of the images in the run."""
    labelled, timed = any(entry["labelled"] for entry in values), column not in UNTIMED_COLUMNS
    axis = IntervalAxis(0.0, 1.0)
    heads = [column, "images", "failed", *((axis.head(), "accuracy") if labelled else ())]
    heads += [*(("p50", "p95") if timed else ()), "at the cut"]
    rows = (_row(entry, axis, labelled, timed) for entry in values[:MAX_LISTED])
    caption = f"The first {MAX_LISTED} values" if len(values) > MAX_LISTED else ""
    return table(caption, heads, rows, wide=3 if labelled else None)


def _row(entry: Slice, axis: IntervalAxis, labelled: bool, timed: bool) -> list[str]:
    accuracy, stage = entry["accuracy"], entry["stages"].get("latency")
    quality = [axis.draw(accuracy), units.percent(accuracy["value"])] if labelled else []
    times = [units.duration(time) for time in ((stage["p50_us"], stage["p95_us"]) if stage else (None, None))]
    return [
        "(none)" if entry["value"] is None else entry["value"],
        f"{entry['records']:,}",
        f"{entry['errors']:,}",
        *quality,
        *(times if timed else []),
        units.percent(entry["cut_share"]),
    ]
