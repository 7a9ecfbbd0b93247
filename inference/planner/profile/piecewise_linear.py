"""A measured time as a function of work: straight lines between measured points, with the error that makes."""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Curve:
    """Times (µs) over work (multiply-accumulates of one image), by rising work; at least one point."""

    points: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, points: Iterable[tuple[float, float]]) -> "Curve":
        """Points in any order. Of several at one place the last counts; times never fall as work rises, since a
        longer part of a model contains the shorter."""
        kept: list[tuple[float, float]] = []
        for work, time in sorted(dict(points).items()):
            kept.append((work, max(time, kept[-1][1]) if kept else time))
        return cls(tuple(kept))

    def at(self, work: float) -> float:
        """The time for so much work; beyond the measured points that of the nearest."""
        points = self.points
        place = bisect_left(points, (work, 0.0))
        if place == 0:
            return points[0][1]
        if place == len(points):
            return points[-1][1]
        (left, low), (right, high) = points[place - 1], points[place]
        return low + (high - low) * (work - left) / (right - left)

    def gaps(self) -> list[tuple[float, float]]:
        """For each inner point (work, error): how far the line between its neighbours misses it, over the largest
        time measured."""
        largest = max((time for _, time in self.points), default=0) or 1.0
        return [
            (self.points[i][0], abs(Curve((before, after)).at(self.points[i][0]) - self.points[i][1]) / largest)
            for i, (before, after) in enumerate(zip(self.points, self.points[2:], strict=False), 1)
        ]

    @property
    def error(self) -> float:
        """The largest of `gaps`: each measured point told from its neighbours alone. 0 for fewer than three."""
        return max((error for _, error in self.gaps()), default=0.0)
