"""Percentiles of a sample, by the nearest rank: always a value that was measured."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of times, in ms."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of_us(cls, values: Sequence[float]) -> "Percentiles":
        """Of times in µs; all 0 without any."""
        return cls(*(percentile(values, share) / 1000 for share in (0.5, 0.95, 0.99)))


def percentile(values: Sequence[float], share: float) -> float:
    """The least value that at least this share (0 to 1) of the values does not exceed; 0 without values."""
    if not values:
        return 0.0
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
