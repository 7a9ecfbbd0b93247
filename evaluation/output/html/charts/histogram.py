"""A histogram with counts on its y axis."""

from collections.abc import Sequence
from dataclasses import dataclass

from hybrid_batch.evaluation.output.html.charts.plot import (
    LEFT,
    QUARTERS,
    RIGHT,
    Scale,
    Tick,
    count_ticks,
    drawing,
    frame,
    x_axis,
    x_title,
    y_axis,
    y_title,
)
from hybrid_batch.evaluation.output.html.charts.short_count import short_count
from hybrid_batch.evaluation.output.html.markup import Markup, element

_HEIGHT, _TOP, _BOTTOM = 224, 12, 168


@dataclass(frozen=True, slots=True)
class Bar:
    """`count` things with a share from `low` to `high`."""

    low: float
    high: float
    count: int


def share_histogram(bars: Sequence[Bar], along: str, things: str) -> Markup:
    """A histogram of a share from 0 to 100 %. `along` names the share, `things` what is counted."""
    x = Scale.between(0, 1, LEFT, RIGHT)
    title = f"Histogram: {things} by {along}"
    counts = count_bars(bars, x, (_TOP, _BOTTOM), along, things)
    axis = x_axis(percent_ticks(x), [(_TOP, _BOTTOM)])
    return drawing(title, _HEIGHT, axis, counts, y_title(things, _TOP, _BOTTOM), x_title(along, _HEIGHT))


def count_bars(bars: Sequence[Bar], x: Scale, panel: tuple[float, float], along: str, things: str) -> Markup:
    """A panel from top to bottom with its y axis; a bar that is not empty is at least 1.5 units high."""
    top, bottom = panel
    ticks = count_ticks(max([bar.count for bar in bars], default=0) or 1, 3 if bottom - top > 100 else 2)
    y = Scale.between(0, ticks[-1], bottom, top)
    parts = [y_axis(Tick(y(tick), short_count(tick)) for tick in ticks)]
    for bar in bars:
        if bar.count:
            left, right = x(bar.low) + 0.75, x(bar.high) - 0.75
            high = max(1.5, bottom - y(bar.count))
            about = f"{along} {bar.low:.0%} to {bar.high:.0%}: {bar.count:,} {things}"
            shape = element("rect", class_="fill-a", x=left, y=bottom - high, width=max(0.5, right - left), height=high)
            parts.append(element("g", element("title", about), shape))
    return element("g", parts, frame(top, bottom))


def percent_ticks(scale: Scale) -> list[Tick]:
    """Ticks at 0 %, 25 %, … 100 %. Where space is short, those at 25 % and 75 % are left out first."""
    return [Tick(scale(value), f"{value:.0%}", int(value in (0.25, 0.75))) for value in QUARTERS]
