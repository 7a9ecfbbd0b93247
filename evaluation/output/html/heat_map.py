"""The confusion matrix as an SVG: one row a label, one column a prediction, darker for a larger share of the label."""

from hybrid_batch.evaluation.output import units
from hybrid_batch.evaluation.output.html.markup import Markup, element, join
from hybrid_batch.evaluation.report_schema import Confusion

MAX_CLASSES_DRAWN = 100
_MAX_WITH_COUNTS = 20  # classes; the cells of larger matrices have no text
_LETTER_WIDTH, _MAX_LETTERS = 6.4, 16  # of a class name


def heat_map(confusion: Confusion) -> Markup:
    """The matrix of at most `MAX_CLASSES_DRAWN` classes; a matrix wider than the page scrolls."""
    classes = confusion["classes"]
    side = max(10, min(27, 640 // len(classes)))
    names = [name if len(name) <= _MAX_LETTERS else f"{name[: _MAX_LETTERS - 1]}…" for name in classes]
    margin = round(max(map(len, names)) * _LETTER_WIDTH) + 12
    size = side * len(classes)
    totals = [0] * len(classes)
    for label, records in zip(confusion["label"], confusion["records"], strict=True):
        totals[label] += records
    parts = [element("rect", class_="track", x=margin, y=margin, width=size, height=size)]
    for place, name in enumerate(names):
        middle = margin + (place + 0.5) * side
        parts.append(element("text", name, x=margin - 6, y=middle + 4, text_anchor="end"))
        turned = f"rotate(-90 {middle + 4:.1f} {margin - 6})"
        parts.append(element("text", name, x=middle + 4, y=margin - 6, transform=turned))
    for label, prediction, records in zip(
        confusion["label"], confusion["prediction"], confusion["records"], strict=True
    ):
        share = records / totals[label]
        about = f"{classes[label]} → {classes[prediction]}: {records:,} ({units.percent(share)} of the label)"
        x, y = margin + prediction * side, margin + label * side
        kind = "right" if label == prediction else "wrong"
        # The square root keeps a cell of 1 % visible beside one of 99 %.
        cell = element("rect", class_=kind, x=x, y=y, width=side - 1, height=side - 1, fill_opacity=share**0.5)
        count = Markup("")
        if len(classes) <= _MAX_WITH_COUNTS and records < 10_000:
            dark = "cell inked" if share > 0.3 else "cell"
            count = element("text", str(records), class_=dark, x=x + side / 2, y=y + side / 2 + 4, text_anchor="middle")
        parts.append(element("g", element("title", about), cell, count))
    title = f"Confusion matrix of {len(classes)} classes: labels down, predictions across"
    width = margin + size + 4
    drawing = element(
        "svg",
        element("title", title),
        join(parts),
        class_="map" if side > 11 else "map fine",
        role="img",
        aria_label=title,
        width=width,
        height=width,
        viewBox=f"0 0 {width} {width}",
    )
    return element("div", drawing, class_="scroll", tabindex=0, role="region", aria_label="Confusion matrix")
