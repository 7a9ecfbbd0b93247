"""The frame of a chart: scales, grid lines, and axis labels that do not touch each other."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hybrid_batch.evaluation.output.html.markup import Markup, element, join

WIDTH = 440
LEFT, RIGHT = 62, 424
QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of a share: the places of its ticks
LETTER = 10.2  # the width of a letter of the largest text, 15 units on a phone
_GAP = 8
_STEPS = (10, 20, 25, 50)  # tenths


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear map from values to positions in the drawing."""

    low: float
    start: float
    slope: float

    @classmethod
    def between(cls, low: float, high: float, start: float, end: float) -> "Scale":
        """The map of `low` to `start` and of `high` to `end`."""
        return cls(low, start, (end - start) / (high - low))

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) * self.slope


@dataclass(frozen=True, slots=True)
class Tick:
    """A label of an axis at a position. Where labels would touch, those of a lower `rank` remain."""

    at: float
    text: str
    rank: int = 0


def frame(top: float, bottom: float) -> Markup:
    """The axes of a panel."""
    return element("path", class_="frame", d=f"M{LEFT} {top}V{bottom}H{RIGHT}")


def x_axis(ticks: Iterable[Tick], tops: Sequence[tuple[float, float]]) -> Markup:
    """Labels below the last of the panels, each (top, bottom), and a grid line through every panel for each."""
    lines, bottom = [], tops[-1][1]
    for tick in spaced(ticks):
        lines += [element("line", class_="grid", x1=tick.at, x2=tick.at, y1=top, y2=end) for top, end in tops]
        lines.append(
            element("text", tick.text, class_="tick-x", x=_middle(tick), y=bottom + 22.0, text_anchor="middle")
        )
    return join(lines)


def y_axis(ticks: Iterable[Tick]) -> Markup:
    """Labels left of the panel, and a grid line for each."""
    lines = []
    for tick in ticks:
        lines.append(element("line", class_="grid", x1=LEFT, x2=RIGHT, y1=tick.at, y2=tick.at))
        lines.append(element("text", tick.text, class_="tick-y", x=LEFT - 6, y=tick.at + 4.0, text_anchor="end"))
    return join(lines)


def x_title(text: str, height: float) -> Markup:
    """The name and unit of the x axis, at the foot of a drawing of this height."""
    return element("text", text, class_="axis", x=(LEFT + RIGHT) / 2, y=height - 6, text_anchor="middle")


def y_title(text: str, top: float, bottom: float) -> Markup:
    """The name and unit of the y axis, beside the panel."""
    middle = (top + bottom) / 2
    return element(
        "text", text, class_="axis", x=13, y=middle, transform=f"rotate(-90 13 {middle:.1f})", text_anchor="middle"
    )


def drawing(title: str, height: float, *parts: Markup) -> Markup:
    """The SVG of a chart; `title` is its text alternative."""
    return element(
        "svg",
        element("title", title),
        join(parts),
        class_="chart",
        role="img",
        aria_label=title,
        viewBox=f"0 0 {WIDTH} {height:g}",
    )


def spaced(ticks: Iterable[Tick]) -> list[Tick]:
    """The ticks whose labels do not touch, preferring low ranks, from left to right."""
    kept: list[Tick] = []
    for tick in sorted(ticks, key=lambda tick: (tick.rank, tick.at)):
        if all(abs(_middle(tick) - _middle(other)) >= _half(tick) + _half(other) + _GAP for other in kept):
            kept.append(tick)
    return sorted(kept, key=lambda tick: tick.at)


def count_ticks(most: int, parts: int = 4) -> list[int]:
    """At most `parts` + 2 round numbers from 0; the last is at least `most`."""
    power = 1
    while True:
        for step in _STEPS:
            size = step * power // 10
            if size * 10 == step * power and size * parts >= most:
                return list(range(0, most + size, size))
        power *= 10


def _half(tick: Tick) -> float:
    return len(tick.text) * LETTER / 2


def _middle(tick: Tick) -> float:
    return min(max(tick.at, _half(tick)), WIDTH - 2 - _half(tick))
