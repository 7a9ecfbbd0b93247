"""The cumulative distribution of the latency."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from hybrid_batch.evaluation.output import units
from hybrid_batch.evaluation.output.html.charts.plot import (
    LEFT,
    QUARTERS,
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
from hybrid_batch.evaluation.report_schema import Histogram

_HEIGHT, _TOP, _BOTTOM = 286, 12, 230


@dataclass(frozen=True, slots=True)
class LatencyCurve:
    """One curve of a latency chart; `marks` are quantiles as (name, microseconds, share of images)."""

    name: str
    histogram: Histogram
    marks: Sequence[tuple[str, float, float]]


def latency_curves(lines: Sequence[LatencyCurve]) -> Markup:
    """The cumulative share of images by latency, one line for each curve, on a logarithmic axis."""
    low = max(1.0, min(line.histogram["low_us"][0] for line in lines))
    high = max(low * 2, *(line.histogram["high_us"][-1] for line in lines))
    x = Scale.between(math.log10(low), math.log10(high), LEFT, RIGHT)
    y = Scale.between(0, 1, _BOTTOM, _TOP)
    return drawing(
        "Share of images completed within a time, one line for each cut",
        _HEIGHT,
        x_axis(_time_ticks(low, high, x), [(_TOP, _BOTTOM)]),
        y_axis(Tick(y(share), f"{share:.0%}") for share in QUARTERS),
        frame(_TOP, _BOTTOM),
        *(_curve(line, place, low, x, y) for place, line in enumerate(lines)),
        y_title("images completed", _TOP, _BOTTOM),
        x_title("latency (logarithmic)", _HEIGHT),
    )


def _curve(line: LatencyCurve, place: int, low: float, x: Scale, y: Scale) -> Markup:
    points = " ".join(f"{x(math.log10(max(low, time))):.1f},{y(share):.1f}" for time, share in _points(line))
    parts = [element("polyline", element("title", line.name), class_=f"line line-{place}", points=points)]
    for name, time, quantile in line.marks:
        mark = element("title", f"{line.name}: {name} {units.duration(time)}")
        at = x(math.log10(max(low, time)))
        parts.append(element("circle", mark, class_=f"fill-{place}", cx=at, cy=y(quantile), r=3.5))
    return element("g", *parts)


def _points(line: LatencyCurve) -> list[tuple[float, float]]:
    """Points (microseconds, share of images): the upper ends of the bins, and the marks, which are more exact."""
    shares = itertools.accumulate(line.histogram["records"])
    total = sum(line.histogram["records"])
    ends = [(end, share / total) for end, share in zip(line.histogram["high_us"], shares, strict=True)]
    start = (line.histogram["low_us"][0], 0.0)
    return [start, *sorted([*ends, *((time, share) for _, time, share in line.marks)])]


def _time_ticks(low: float, high: float, x: Scale) -> list[Tick]:
    """Round times between two times; the powers of ten remain longest where labels would touch."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    ranks = {1: 0, 3: 1, 2: 2, 5: 2, 1.5: 3, 4: 3, 7: 3}
    times = [(step * 10.0**power, rank) for power in range(first, last + 1) for step, rank in ranks.items()]
    return [Tick(x(math.log10(time)), units.duration(time), rank) for time, rank in times if low <= time <= high]
