"""The confusion matrix as a table as wide as its card: one row a label, one column a prediction.

A table, because its text keeps its size on any screen. The shade of a cell is its share of the label, in ten steps.
"""

import math
from collections.abc import Sequence

from hybrid_batch.evaluation.output import units
from hybrid_batch.evaluation.output.html.charts.short_count import short_count
from hybrid_batch.evaluation.output.html.markup import Markup, element, join
from hybrid_batch.evaluation.output.html.tables import run_text
from hybrid_batch.evaluation.report_schema import Confusion

MAX_CLASSES_DRAWN = 100
SHADES = 10
_MAX_NORMAL, _MAX_WITH_COUNTS, _MAX_SMALL = 12, 20, 50  # classes; cells of more than 20 have no text
_SHORT_NAME = 3
_KEY_SHARES = (0.01, 0.1, 0.5, 1.0)
_MAX_LETTERS = 16  # of a class name


def confusion_table(confusion: Confusion) -> Markup:
    """The matrix of at most `MAX_CLASSES_DRAWN` classes."""
    classes = confusion["classes"]
    totals = [0] * len(classes)
    cells: dict[tuple[int, int], int] = {}
    for label, prediction, records in zip(
        confusion["label"], confusion["prediction"], confusion["records"], strict=True
    ):
        totals[label] += records
        cells[label, prediction] = records
    has_counts = len(classes) <= _MAX_WITH_COUNTS
    head = element(
        "tr",
        element("th", "label", class_="corner", scope="col"),
        (element("th", element("span", run_text(_short(name))), scope="col", title=name) for name in classes),
    )
    rows = (
        element(
            "tr",
            element("th", run_text(_short(name)), scope="row", title=name),
            (
                _cell(cells.get((row, column), 0), totals[row], row == column, has_counts)
                for column in range(len(classes))
            ),
        )
        for row, name in enumerate(classes)
    )
    about = element("caption", "Predictions across, labels down")
    drawn = element("table", about, element("thead", head), element("tbody", rows), class_=_kind(classes))
    shown = element("div", drawn, class_="scroll", tabindex=0, role="region", aria_label="Confusion matrix")
    return element("div", shown, _key(), class_="shaded")


def _cell(records: int, total: int, is_right: bool, has_counts: bool) -> Markup:
    if not records:
        return element("td")
    share = records / total
    kind = "right" if is_right else "wrong"
    about = f"{records:,}, {units.percent(share)} of the label"
    return element("td", short_count(records) if has_counts else "", class_=f"{kind}-{_shade(share)}", title=about)


def _kind(classes: Sequence[str]) -> str:
    """The classes of the style for a matrix of these classes: narrow names, and smaller cells for more classes."""
    kinds = ["matrix"]
    if max(map(len, classes)) <= _SHORT_NAME:
        kinds.append("short")
    count = len(classes)
    if count > _MAX_NORMAL:
        kinds.append("dense" if count <= _MAX_WITH_COUNTS else "small" if count <= _MAX_SMALL else "fine")
    return " ".join(kinds)


def _key() -> Markup:
    """The shades of some shares of a label, right and wrong."""
    return join(
        element(
            "p",
            element("span", f"share of the label, {kind}", class_="name"),
            (element("span", f"{share:.0%}", class_=f"{kind}-{_shade(share)}") for share in _KEY_SHARES),
            class_="shades soft",
        )
        for kind in ("right", "wrong")
    )


def _shade(share: float) -> int:
    return max(1, round(SHADES * math.sqrt(share)))  # the square root keeps 1 % visible beside 99 %


def _short(name: str) -> str:
    return name if len(name) <= _MAX_LETTERS else f"{name[: _MAX_LETTERS - 1]}…"
