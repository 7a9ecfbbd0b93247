"""What was predicted: the distribution of the predictions, which needs no labels."""

from collections.abc import Sequence

from hybrid_batch.data.terminal.numbers import format_count
from hybrid_batch.evaluation.output import units
from hybrid_batch.evaluation.output.html.charts.bars import bar
from hybrid_batch.evaluation.output.html.markup import Markup, element
from hybrid_batch.evaluation.output.html.tables import collapsible, section, table
from hybrid_batch.evaluation.report_schema import Report

MAX_SHOWN = 20
MAX_LISTED = 1000


def predictions(report: Report) -> Markup:
    """The classes by descending number of predictions: the first `MAX_SHOWN` at once, the others to open."""
    counts = [
        (entry["value"], entry["records"] - entry["errors"])
        for entry in report["slices"].get("prediction", [])
        if entry["value"] is not None and entry["records"] > entry["errors"]
    ]
    if not counts:
        return section("Predictions", element("p", "The predictions are not listed: there are none, or too many."))
    counts.sort(key=lambda entry: (-entry[1], entry[0]))
    total = sum(count for _, count in counts)
    first = _table(counts[:MAX_SHOWN], total, counts[0][1])
    about = f"{format_count(total, 'image')} classified as {format_count(len(counts), 'class', 'classes')}."
    rest = counts[MAX_SHOWN : MAX_SHOWN + MAX_LISTED]
    more = (
        [collapsible(format_count(len(rest), "more class", "more classes"), _table(rest, total, counts[0][1]))]
        if rest
        else []
    )
    return section("Predictions", element("p", about, class_="lead"), first, *more)


def _table(counts: Sequence[tuple[str, int]], total: int, most: int) -> Markup:
    rows = ((name, bar(count / most), f"{count:,}", units.percent(count / total)) for name, count in counts)
    return table("", ("predicted class", "", "images", "share"), rows, wide=1)
