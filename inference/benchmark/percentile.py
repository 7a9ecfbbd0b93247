"""Percentiles of a sample by the nearest-rank method: each is a measured value."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Percentiles of times, in ms."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of_us(cls, values: Sequence[float]) -> "Percentiles":
        """The percentiles of times in µs; all 0 for no times."""
        return cls(*(percentile(values, share) / 1000 for share in (0.5, 0.95, 0.99)))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that is not exceeded by at least `share` (0 to 1) of them; 0 for no values."""
    if not values:
        return 0.0
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
