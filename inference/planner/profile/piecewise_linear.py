"""Measured times as a function of work, interpolated linearly, with an estimate of the interpolation error."""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

Measure = Annotated[float, Meta(ge=0)]


@dataclass(frozen=True, slots=True)
class PiecewiseLinear:
    """A continuous function through `points` (work, time): multiply-accumulates of one image in ascending order, and
    µs. At least one point."""

    points: Annotated[tuple[tuple[Measure, Measure], ...], Meta(min_length=1)]

    @classmethod
    def from_points(cls, points: Iterable[tuple[float, float]]) -> "PiecewiseLinear":
        """Sort the points; the last of several with equal work counts. Times are made non-decreasing, because a longer
        part of a model contains the shorter one."""
        kept: list[tuple[float, float]] = []
        for work, time in sorted(dict(points).items()):
            kept.append((work, max(time, kept[-1][1]) if kept else time))
        return cls(tuple(kept))

    def at(self, work: float) -> float:
        """The interpolated time; outside the measured range, that of the nearest point."""
        points = self.points
        place = bisect_left(points, (work, 0.0))
        if place == 0:
            return points[0][1]
        if place == len(points):
            return points[-1][1]
        (left, low), (right, high) = points[place - 1], points[place]
        return low + (high - low) * (work - left) / (right - left)

    def leave_one_out_errors(self) -> list[tuple[float, float]]:
        """(work, error) of each inner point: the deviation of its time from the line between its neighbours, as a share
        of the largest time."""
        largest = max((time for _, time in self.points), default=0) or 1.0
        return [
            (work, abs(PiecewiseLinear((before, after)).at(work) - time) / largest)
            for before, (work, time), after in zip(self.points, self.points[1:], self.points[2:], strict=False)
        ]

    @property
    def error(self) -> float:
        """The largest leave-one-out error; 0 for fewer than three points."""
        return max((error for _, error in self.leave_one_out_errors()), default=0.0)
