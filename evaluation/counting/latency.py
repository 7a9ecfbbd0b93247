"""Latencies as integer buckets: the top bits of the float32 (sign, exponent, 7 mantissa bits).

Buckets are a fixed function of the value, so histograms merge exactly, in any order, by addition. Each bucket
spans 1/128 of its power of two; whole microseconds below 256 have a bucket each and come back exact.
"""

import math
from collections.abc import Iterable
from functools import cache

import numpy as np
import numpy.typing as npt

_DROPPED_BITS = 16  # of float32's 23 mantissa bits; 7 remain
_MAGNITUDE = 0x7FFF_FFFF


def bucket(values_us: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """The bucket of each value, same shape. Order is kept, 0 is bucket 0, and `bucket(-x) == -bucket(x)`."""
    bits = values_us.astype(np.float32).view(np.int32)
    if values_us.min(initial=0) >= 0:
        return bits >> _DROPPED_BITS
    magnitude = (bits & _MAGNITUDE) >> _DROPPED_BITS
    return np.where(bits < 0, -magnitude, magnitude)


@cache
def edges_us(bucket: int, coarser: int = 0) -> tuple[float, float]:
    """Where a bucket starts and where it ends, [low, high); of a negative one (low, high]; of 0, 0 and 1.

    With `coarser` bits more dropped, of the buckets that agree in what is left.
    """
    if bucket == 0:
        return 0.0, 1.0
    ends = np.array([abs(bucket), abs(bucket) + 1], np.int32) << (_DROPPED_BITS + coarser)
    low, high = ends.view(np.float32).tolist()
    return (low, high) if bucket > 0 else (-high, -low)


@cache
def value_us(bucket: int) -> float:
    """The value that stands for a bucket: within 0.39 % of every whole number of microseconds in it.

    It is the harmonic mean of the smallest and largest such number: the point whose relative error is the
    same at both ends, (high - low) / (high + low) < 1/257.
    """
    if bucket == 0:
        return 0.0
    if bucket < 0:
        return -value_us(-bucket)
    start, end = edges_us(bucket)
    low, high = math.ceil(start), math.ceil(end) - 1
    return float(2 * low * high / (low + high))


def quantiles_us(
    buckets: npt.NDArray[np.int64], counts: npt.NDArray[np.int64], permilles: Iterable[int]
) -> list[float]:
    """The quantiles at `permilles` / 1000 of a non-empty histogram, each within 0.39 % of the exact one.

    `buckets` ascend, `counts` are above 0. The rule is the inverted empirical distribution (`numpy.quantile(...,
    method="inverted_cdf")`, type 1 of Hyndman & Fan 1996): the smallest value with at least that share of all
    values at or below it. It is always a value that occurred, which is what makes the bound hold on any distribution.
    """
    seen = np.cumsum(counts)
    ranks = [max(1, -(-int(seen[-1]) * permille // 1000)) for permille in permilles]
    return [value_us(int(buckets[place])) for place in np.searchsorted(seen, ranks)]
