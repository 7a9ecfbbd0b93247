"""The confusion matrix as a picture: a row for each label, a column for each prediction, darker for a larger share."""

from hybrid_batch.evaluation.output import units
from hybrid_batch.evaluation.output.html.markup import Markup, element, join
from hybrid_batch.evaluation.report_schema import Confusion

MOST_CLASSES = 100
_WRITTEN = 20  # up to so many classes the counts are written into the cells
_LETTER, _LONGEST = 6.4, 16  # the width of a letter, and the letters shown of a name


def heat_map(confusion: Confusion) -> Markup:
    """The matrix of up to `MOST_CLASSES` classes, at a size of its own: where it is wider than the page it scrolls."""
    classes = confusion["classes"]
    side = max(10, min(27, 640 // len(classes)))
    names = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in classes]
    margin = round(max(map(len, names)) * _LETTER) + 12
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
        about = f"{classes[label]} → {classes[prediction]}: {records:,} ({units.share(share)} of the label)"
        x, y = margin + prediction * side, margin + label * side
        kind = "right" if label == prediction else "wrong"
        # The root lets 1 % be seen beside 99 %.
        cell = element("rect", class_=kind, x=x, y=y, width=side - 1, height=side - 1, fill_opacity=share**0.5)
        count = Markup("")
        if len(classes) <= _WRITTEN and records < 10_000:
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
