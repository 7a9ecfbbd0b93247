"""Latencies as integer buckets: the top bits of the float32 (sign, exponent, 7 mantissa bits).

A bucket is a fixed function of the value, so histograms merge by addition, exactly and in any order. A bucket
spans 1/128 of its power of two; whole microseconds below 256 have a bucket each and are exact.
"""

import math
from collections.abc import Iterable
from functools import cache

import numpy as np
import numpy.typing as npt

_DROPPED_BITS = 16  # of the 23 mantissa bits of a float32; 7 remain
_MAGNITUDE = 0x7FFF_FFFF


def to_buckets(values_us: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """The bucket of each value, same shape. It preserves the order and the sign, and 0 has bucket 0."""
    bits = values_us.astype(np.float32).view(np.int32)
    if values_us.min(initial=0) >= 0:
        return bits >> _DROPPED_BITS
    magnitude = (bits & _MAGNITUDE) >> _DROPPED_BITS
    return np.where(bits < 0, -magnitude, magnitude)


@cache
def bucket_edges_us(bucket: int, coarser: int = 0) -> tuple[float, float]:
    """The bounds of a bucket: [low, high), of a negative bucket (low, high], of bucket 0 the pair (0, 1).

    With `coarser` more bits dropped, the bounds of the union of buckets that agree in the remaining bits.
    """
    if bucket == 0:
        return 0.0, 1.0
    ends = np.array([abs(bucket), abs(bucket) + 1], np.int32) << (_DROPPED_BITS + coarser)
    low, high = ends.view(np.float32).tolist()
    return (low, high) if bucket > 0 else (-high, -low)


@cache
def bucket_value_us(bucket: int) -> float:
    """The value that represents a bucket: within 0.39 % of every whole number of microseconds in it.

    It is the harmonic mean of the smallest and the largest such number, whose relative error is equal at both
    ends: (high - low) / (high + low) < 1/257.
    """
    if bucket == 0:
        return 0.0
    if bucket < 0:
        return -bucket_value_us(-bucket)
    start, end = bucket_edges_us(bucket)
    low, high = math.ceil(start), math.ceil(end) - 1
    return float(2 * low * high / (low + high))


def quantiles_us(
    buckets: npt.NDArray[np.int64], counts: npt.NDArray[np.int64], permilles: Iterable[int]
) -> list[float]:
    """The quantiles at `permilles` / 1000 of a non-empty histogram, each within 0.39 % of the exact quantile.

    `buckets` ascend, `counts` are above 0. The rule is the inverted empirical distribution (`numpy.quantile(...,
    method="inverted_cdf")`, type 1 of Hyndman & Fan 1996): the smallest value with at least that share of all
    values at or below it. This value always occurred, so the bound holds for any distribution.
    """
    cumulative = np.cumsum(counts)
    ranks = [max(1, -(-int(cumulative[-1]) * permille // 1000)) for permille in permilles]
    return [bucket_value_us(int(buckets[place])) for place in np.searchsorted(cumulative, ranks)]
