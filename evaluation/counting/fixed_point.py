"""Real numbers as integers, so that their sums are exact and the same on every machine and in every order.

A number below 2^22 is held in steps of 2^-40, as two integers that each leave room for the sum of 2^40 records.
"""

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_HALF = 20
_STEPS = 2.0 ** (2 * _HALF)
_LN2 = 0.6931471805599453
_ODD = [1 / n for n in range(19, 0, -2)]  # of the series of artanh, the last term first


def split(values: Reals) -> tuple[Integers, Integers]:
    """The high and the low integer of each value: exact for multiples of 2^-40, else the nearest."""
    steps = np.rint(values * _STEPS).astype(np.int64)
    return steps >> _HALF, steps & ((1 << _HALF) - 1)


def join(high: int, low: int) -> float:
    """The number that two integers, or the sums of many, stand for."""
    return ((high << _HALF) + low) / _STEPS


def ln(values: Reals) -> Reals:
    """Natural logarithms to 1e-15 of positive values, by IEEE additions, products and quotients alone.

    Those give the same bits on every processor; `numpy.log` does not, and a bit would show in the sums.
    """
    mantissa, exponent = np.frexp(values)
    small = mantissa < 0.7071067811865476
    mantissa = np.where(small, 2 * mantissa, mantissa)  # now in [1/√2, √2)
    ratio = (mantissa - 1) / (mantissa + 1)
    square = ratio * ratio
    series = np.full_like(values, _ODD[0])
    for term in _ODD[1:]:
        series *= square
        series += term
    result: Reals = 2 * ratio * series + (exponent - small) * _LN2
    return result
