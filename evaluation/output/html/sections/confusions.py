"""Which classes are taken for which: the matrix, and the most frequent confusions."""

from hybrid_batch.data.terminal.numbers import format_count
from hybrid_batch.evaluation.output import units
from hybrid_batch.evaluation.output.html.charts.confusion_table import MAX_CLASSES_DRAWN, confusion_table
from hybrid_batch.evaluation.output.html.markup import Markup, element, join
from hybrid_batch.evaluation.output.html.tables import collapsible, remark, run_text, section, table
from hybrid_batch.evaluation.report_schema import Confusion

MAX_LISTED = 12
MAX_CLASSES_IN_HALF = 12  # a matrix of more classes has the width of the page


def confusions(confusion: Confusion) -> Markup:
    """The matrix, unless it has too many classes to draw, and the most frequent confusions."""
    count = len(confusion["classes"])
    if count > MAX_CLASSES_DRAWN:
        about = remark(
            f"The matrix of {count:,} classes is too large to draw; ",
            element("code", "hybrid-batch evaluate"),
            " writes it as confusion.csv.",
        )
        return section("Most frequent confusions", _worst(confusion, 2 * MAX_LISTED, columns=2), about)
    matrix = confusion_table(confusion)
    if count > MAX_CLASSES_IN_HALF:
        return section(
            "Confusion", matrix, element("h3", "Most frequent confusions"), _worst(confusion, MAX_LISTED, columns=2)
        )
    worst = section("Most frequent confusions", _worst(confusion, MAX_LISTED))
    return element("div", section("Confusion", matrix), worst, class_="pair")


def _worst(confusion: Confusion, most: int, columns: int = 1) -> Markup:
    names = confusion["classes"]
    cells = list(zip(confusion["label"], confusion["prediction"], confusion["records"], strict=True))
    wrong = sorted((-records, label, prediction) for label, prediction, records in cells if label != prediction)
    if not wrong:
        return element("p", "Every labelled image was classified as its label.")
    totals = dict.fromkeys(range(len(names)), 0)
    for label, _, records in cells:
        totals[label] += records
    rows = [
        (
            join(run_text(names[label]), " → ", run_text(names[prediction])),
            f"{-records:,}",
            f"{totals[label]:,}",
            units.percent(-records / totals[label]),
        )
        for records, label, prediction in wrong[:most]
    ]
    images = -sum(records for records, _, _ in wrong)
    kinds = f"{format_count(len(wrong), 'pair')} of classes confused, in {format_count(images, 'image')}"
    about = remark(f"{kinds}; listed: {len(rows)}" if len(wrong) > len(rows) else kinds)
    half = -(-len(rows) // columns)
    tables = [table("", _HEADS, rows[start : start + half]) for start in range(0, len(rows), half)]
    listed = join(about, element("div", tables, class_="columns") if columns > 1 else tables)
    if len(wrong) <= most or wrong[0][0] < -1:
        return listed
    once = element("p", f"{images:,} images were misclassified, and no pair of classes was confused twice.")
    return join(once, collapsible(f"{len(rows)} of the {len(wrong):,} pairs", listed))


_HEADS = ("label → prediction", "images", "of label", "share")
