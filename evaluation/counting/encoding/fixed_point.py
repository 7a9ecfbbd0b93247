"""Real numbers as integers, whose sums are exact and do not depend on the machine or on the order.

A number below 2^22 is stored in steps of 2^-40, as two integers; the sum of 2^40 of them fits 64 bits.
"""

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_HALF = 20
_STEPS = 2.0 ** (2 * _HALF)
_LN2 = 0.6931471805599453
_ODD = [1 / n for n in range(19, 0, -2)]  # the coefficients of artanh's series, the last term first


def to_fixed(values: Reals) -> tuple[Integers, Integers]:
    """The high and the low integer of each value: exact for multiples of 2^-40, rounded for others."""
    steps = np.rint(values * _STEPS).astype(np.int64)
    return steps >> _HALF, steps & ((1 << _HALF) - 1)


def from_fixed(high: int, low: int) -> float:
    """The number of a high and a low integer, or the sum of many from the sums of their integers."""
    return ((high << _HALF) + low) / _STEPS


def ln(values: Reals) -> Reals:
    """Natural logarithms of positive values, to 1e-15, computed with IEEE additions, products and quotients alone.

    These give the same bits on every processor. `numpy.log` does not, and one bit would change a report.
    """
    mantissa, exponent = np.frexp(values)
    small = mantissa < 0.7071067811865476
    mantissa = np.where(small, 2 * mantissa, mantissa)  # now in [1/√2, √2)
    ratio = (mantissa - 1) / (mantissa + 1)
    square = ratio * ratio
    series = np.full_like(values, _ODD[0])
    for coefficient in _ODD[1:]:
        series *= square
        series += coefficient
    result: Reals = 2 * ratio * series + (exponent - small) * _LN2
    return result
