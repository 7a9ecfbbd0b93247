"""Bars for the cells of tables. They repeat numbers of the same row, so they are hidden from screen readers."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hybrid_batch.evaluation.output.html.markup import Markup, element
from hybrid_batch.evaluation.report_schema import Measure

_STEPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


def bar(value: float | None, class_: str = "a") -> Markup:
    """A bar from 0 to a share of the full width."""
    parts = [element("rect", class_="track", width=100, height=12)]
    if value is not None:
        parts.append(element("rect", class_=f"fill-{class_}", width=100 * _clamp(value), height=12))
    return _strip(parts)


def stacked_bar(values: Sequence[tuple[str, float]], full: float) -> Markup:
    """Bars end to end, each with the colour of its class; the value `full` has the full width."""
    parts, start = [element("rect", class_="track", width=100, height=12)], 0.0
    for class_, value in values:
        width = 100 * max(0.0, value) / full if full > 0 else 0.0
        parts.append(element("rect", class_=f"fill-{class_}", x=start, width=width, height=12))
        start += width
    return _strip(parts)


@dataclass(frozen=True, slots=True)
class IntervalAxis:
    """The common axis of the intervals of a table, from `low` to `high`."""

    low: float
    high: float

    @classmethod
    def around(cls, measures: Iterable[Measure]) -> "IntervalAxis":
        """The narrowest axis with round ends that contains all known values and intervals, at most -1 to 1."""
        known = [end for measure in measures for end in measure.values() if isinstance(end, int | float)]
        low, high = min(known, default=0.0), max(known, default=1.0)
        step = next((step for step in _STEPS if high - low <= 5 * step), 1.0)
        return cls(max(-1.0, math.floor(low / step) * step), min(1.0, math.ceil(high / step) * step or step))

    def draw(self, measure: Measure) -> Markup:
        """A dot for the value and a line for its interval."""
        parts = [element("path", class_="track-line", d="M0 6H100")]
        low, high, value = measure["low"], measure["high"], measure["value"]
        if low is not None and high is not None:
            start, end = self._at(low), self._at(high)
            parts.append(element("path", class_="whisker", d=f"M{start:.2f} 6H{end:.2f}M{start:.2f} 3v6M{end:.2f} 3v6"))
        if value is not None:
            # A line of length 0 with round caps is a dot that stays round when the drawing is stretched.
            parts.append(element("path", class_="dot", d=f"M{self._at(value):.2f} 6h0"))
        return _strip(parts)

    def head(self) -> Markup:
        """The ends of the axis, for the heading of the column."""
        digits = 0 if all(round(100 * end, 6).is_integer() for end in (self.low, self.high)) else 1
        low, high = (element("span", f"{100 * end:.{digits}f}%") for end in (self.low, self.high))
        return element("span", low, " ", high, class_="ends")

    def _at(self, value: float) -> float:
        return 2 + 96 * _clamp((value - self.low) / (self.high - self.low))


def swatch(class_: str) -> Markup:
    """A square of a colour, for a key."""
    square = element("rect", class_=f"fill-{class_}", width=12, height=12)
    return element("svg", square, viewBox="0 0 12 12", aria_hidden="true")


def _clamp(value: float) -> float:
    return min(1.0, max(0.0, value))


def _strip(parts: Sequence[Markup]) -> Markup:
    return element("svg", *parts, class_="bar", viewBox="0 0 100 12", preserveAspectRatio="none", aria_hidden="true")
