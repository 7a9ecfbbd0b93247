"""The reliability diagram: accuracy by confidence, and below it the number of images by confidence."""

from collections.abc import Sequence

from hybrid_batch.evaluation.output import units
from hybrid_batch.evaluation.output.html.charts.histogram import Bar, count_bars, percent_ticks
from hybrid_batch.evaluation.output.html.charts.plot import (
    LEFT,
    RIGHT,
    Scale,
    Tick,
    drawing,
    frame,
    x_axis,
    x_title,
    y_axis,
    y_title,
)
from hybrid_batch.evaluation.output.html.markup import Markup, element
from hybrid_batch.evaluation.report_schema import Bin

_TOP, _BOTTOM = 12, 212
_COUNT_TOP, _COUNT_BOTTOM = 232, 300
_HEIGHT = 356


def reliability_diagram(bins: Sequence[Bin]) -> Markup:
    """A bar with its interval for each bin, the diagonal of perfect confidences, and the images of each bin."""
    x, y = Scale.between(0, 1, LEFT, RIGHT), Scale.between(0, 1, _BOTTOM, _TOP)
    filled = [entry for entry in bins if entry["records"]]
    counts = [Bar(entry["low"], entry["high"], entry["records"]) for entry in filled]
    return drawing(
        "Reliability diagram: accuracy in each bin of confidence, and images in each bin",
        _HEIGHT,
        x_axis(percent_ticks(x), [(_TOP, _BOTTOM), (_COUNT_TOP, _COUNT_BOTTOM)]),
        y_axis(Tick(y(tick.at), tick.text) for tick in percent_ticks(Scale(0, 0, 1))),
        element("g", (_bar(entry, x, y) for entry in filled)),
        element("line", class_="ideal", x1=x(0), y1=y(0), x2=x(1), y2=y(1)),
        element("g", (_estimate(entry, x, y) for entry in filled)),
        frame(_TOP, _BOTTOM),
        count_bars(counts, x, (_COUNT_TOP, _COUNT_BOTTOM), "confidence", "images"),
        y_title("accuracy", _TOP, _BOTTOM),
        y_title("images", _COUNT_TOP, _COUNT_BOTTOM),
        x_title("confidence", _HEIGHT),
    )


def _bar(entry: Bin, x: Scale, y: Scale) -> Markup:
    left, right = x(entry["low"]) + 0.75, x(entry["high"]) - 0.75
    top = y(entry["accuracy"]["value"] or 0.0)
    return element("rect", class_="fill-pale", x=left, y=top, width=max(0.5, right - left), height=y(0) - top)


def _estimate(entry: Bin, x: Scale, y: Scale) -> Markup:
    accuracy = entry["accuracy"]
    value, low, high = accuracy["value"] or 0.0, accuracy["low"], accuracy["high"]
    about = (
        f"confidence {units.percent(entry['low'])} to {units.percent(entry['high'])}: accuracy "
        f"{units.percent(value)} (95 %: {units.interval(accuracy)}), {entry['records']:,} images"
    )
    middle = x((entry["low"] + entry["high"]) / 2)
    shapes = [element("title", about)]
    if low is not None and high is not None:
        shapes.append(element("path", class_="whisker", d=f"M{middle:.1f} {y(low):.1f}V{y(high):.1f}"))
    shapes.append(element("circle", class_="fill-a", cx=middle, cy=y(value), r=3.5))
    return element("g", *shapes)
