"""Charts as inline SVG. Text from a log enters through `markup.element` only; colours are classes of the style."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from hybrid_batch.evaluation.output import units
from hybrid_batch.evaluation.output.html.markup import Markup, element, join
from hybrid_batch.evaluation.report_schema import Bin, Histogram, Measure

# In units of about one pixel: text of size 12 is readable where a phone shrinks a chart to 320.
_WIDTH, _HEIGHT = 400, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 10, 10, 40


@dataclass(frozen=True, slots=True)
class LatencyCurve:
    """One curve of a latency chart; `marks` are quantiles as (name, microseconds, share of records)."""

    name: str
    histogram: Histogram
    marks: Sequence[tuple[str, float, float]]


def bar(value: float | None, low: float | None = None, high: float | None = None, class_: str = "a") -> Markup:
    """A bar for a table cell, from 0 to a share of the full width, with the interval as a whisker."""
    parts = [element("rect", class_="track", width=100, height=12)]
    if value is not None:
        parts.append(element("rect", class_=f"fill-{class_}", width=100 * _clamp(value), height=12))
    if low is not None and high is not None:
        at = [100 * _clamp(low), 100 * _clamp(high)]
        parts.append(element("path", class_="whisker", d=f"M{at[0]:.2f} 6H{at[1]:.2f}M{at[0]:.2f} 3v6M{at[1]:.2f} 3v6"))
    return _strip(parts)


def stacked_bar(values: Sequence[float], full: float) -> Markup:
    """Bars end to end, one colour for each place; the value `full` has the full width."""
    parts, start = [element("rect", class_="track", width=100, height=12)], 0.0
    for place, value in enumerate(values):
        width = 100 * max(0.0, value) / full if full > 0 else 0.0
        parts.append(element("rect", class_=f"fill-{place}", x=start, width=width, height=12))
        start += width
    return _strip(parts)


def reliability_diagram(bins: Sequence[Bin]) -> Markup:
    """Accuracy by confidence, with intervals, and the diagonal; below it the share of records in each bin."""
    total = sum(entry["records"] for entry in bins)
    foot = 44
    x, y = _scale(0, 1, _LEFT, _WIDTH - _RIGHT), _scale(0, 1, _HEIGHT - _BOTTOM - foot, _TOP)
    parts = _frame(_HEIGHT - _BOTTOM - foot)
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts += [_across(y(tick), f"{tick:.0%}"), _below(x(tick), f"{tick:.0%}")]
    parts.append(element("line", class_="ideal", x1=x(0), y1=y(0), x2=x(1), y2=y(1)))
    for entry in bins:
        accuracy, records = entry["accuracy"], entry["records"]
        left, right = x(entry["low"]) + 0.5, x(entry["high"]) - 0.5
        if accuracy["value"] is None:
            continue
        about = (
            f"confidence {units.percent(entry['low'])} to {units.percent(entry['high'])}: "
            f"accuracy {units.percent(accuracy['value'])}, {records:,} records"
        )
        tall, wide, middle = y(accuracy["value"]), max(0.5, right - left), (left + right) / 2
        shape = element("rect", class_="fill-a", x=left, y=tall, width=wide, height=y(0) - tall)
        deep = foot * 0.8 * records / total
        base = _HEIGHT - _BOTTOM
        share = element("rect", class_="fill-quiet", x=left, y=base - deep, width=wide, height=deep)
        parts.append(element("g", element("title", about), shape, _whisker(middle, accuracy, y), share))
    parts.append(_note(_LEFT - 6, _HEIGHT - _BOTTOM - 8, "records", "end"))
    return _drawing(parts, "accuracy", "confidence", "Reliability diagram: accuracy in each bin of confidence")


def latency_curves(lines: Sequence[LatencyCurve]) -> Markup:
    """The cumulative share of records by latency, one line for each curve, on a logarithmic axis."""
    low = max(1.0, min(line.histogram["low_us"][0] for line in lines))
    high = max(low * 2, *(line.histogram["high_us"][-1] for line in lines))
    x = _scale(math.log10(low), math.log10(high), _LEFT, _WIDTH - _RIGHT)
    y = _scale(0, 1, _HEIGHT - _BOTTOM, _TOP)
    parts = _frame(_HEIGHT - _BOTTOM)
    parts += [_across(y(tick), f"{tick:.0%}") for tick in (0.0, 0.25, 0.5, 0.75, 1.0)]
    parts += [_below(x(math.log10(tick)), units.duration(tick)) for tick in _ticks_us(low, high)]
    for place, line in enumerate(lines):
        points = " ".join(f"{x(math.log10(max(low, time))):.1f},{y(share):.1f}" for time, share in _points(line))
        parts.append(element("polyline", element("title", line.name), class_=f"line line-{place}", points=points))
        for name, time, quantile in line.marks:
            mark = element("title", f"{line.name}: {name} {units.duration(time)}")
            at = x(math.log10(max(low, time)))
            parts.append(element("circle", mark, class_=f"fill-{place}", cx=at, cy=y(quantile), r=3.5))
    return _drawing(parts, "completed", "latency", "Share of records completed within a time, one line for each cut")


def _points(line: LatencyCurve) -> list[tuple[float, float]]:
    """Points (microseconds, share of records): the upper ends of the bins, and the marks, which are more exact."""
    shares = itertools.accumulate(line.histogram["records"])
    total = sum(line.histogram["records"])
    ends = [(end, share / total) for end, share in zip(line.histogram["high_us"], shares, strict=True)]
    start = (line.histogram["low_us"][0], 0.0)
    return [start, *sorted([*ends, *((time, share) for _, time, share in line.marks)])]


def _ticks_us(low: float, high: float) -> list[float]:
    """At most six round times between two times."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for steps in ((1, 1.5, 2, 3, 4, 5, 6, 8), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
        ticks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= 6:
            return ticks
    return ticks[:: math.ceil(len(ticks) / 6)]


def _clamp(value: float) -> float:
    return min(1.0, max(0.0, value))


def _scale(low: float, high: float, start: float, end: float) -> "_Scale":
    return _Scale(low, start, (end - start) / (high - low))


@dataclass(frozen=True, slots=True)
class _Scale:
    """A linear map from values to positions on the page."""

    low: float
    start: float
    slope: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) * self.slope


def _strip(parts: Sequence[Markup]) -> Markup:
    """A bar repeats the number in the next cell, so it is hidden from screen readers."""
    return element("svg", *parts, class_="bar", viewBox="0 0 100 12", preserveAspectRatio="none", aria_hidden="true")


def _drawing(parts: Sequence[Markup], up: str, along: str, title: str) -> Markup:
    labels = [
        element(
            "text",
            up,
            class_="axis",
            x=14,
            y=(_HEIGHT - _BOTTOM) / 2,
            transform=f"rotate(-90 14 {(_HEIGHT - _BOTTOM) // 2})",
            text_anchor="middle",
        ),
        element("text", along, class_="axis", x=(_LEFT + _WIDTH - _RIGHT) / 2, y=_HEIGHT - 6, text_anchor="middle"),
    ]
    return element(
        "svg",
        element("title", title),
        join(parts, labels),
        class_="chart",
        role="img",
        aria_label=title,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
    )


def _frame(bottom: float) -> list[Markup]:
    return [element("path", class_="frame", d=f"M{_LEFT} {_TOP}V{bottom}H{_WIDTH - _RIGHT}")]


def _across(y: float, text: str) -> Markup:
    grid = element("line", class_="grid", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y)
    return join(grid, _note(_LEFT - 6, y + 4, text, "end"))


def _below(x: float, text: str) -> Markup:
    tick = element("line", class_="grid", x1=x, x2=x, y1=_TOP, y2=_HEIGHT - _BOTTOM)
    anchor = "end" if x > _WIDTH - 30 else "middle"
    return join(tick, _note(x, _HEIGHT - _BOTTOM + 15, text, anchor))


def _note(x: float, y: float, text: str, anchor: str) -> Markup:
    return element("text", text, x=x, y=y, text_anchor=anchor)


def _whisker(x: float, measure: Measure, y: _Scale) -> Markup:
    low, high = measure["low"], measure["high"]
    if low is None or high is None:
        return Markup("")
    return element("path", class_="whisker", d=f"M{x:.1f} {y(low):.1f}V{y(high):.1f}")
