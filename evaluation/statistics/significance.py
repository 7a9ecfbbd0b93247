"""Significance of the difference between two classifiers on the same images.

McNemar's test (1947) compares the number of images that only one of the two classifies correctly. Under the null
hypothesis such an image is a fair coin toss, so the p-values are two-sided and exact, from the binomial distribution.
Holm's correction (1979) adjusts the p-values of many tests.
"""

import math
from collections.abc import Sequence

_NEGLIGIBLE = 1e-18


def mcnemar_exact_p(only_a: int, only_b: int) -> float:
    """The exact p-value: never more false alarms than its level, and far fewer for few images."""
    below, at = _binomial_tail(only_a, only_b)
    return min(1.0, 2 * (below + at))


def mcnemar_mid_p(only_a: int, only_b: int) -> float:
    """The mid-p value, with half the probability of the observed counts: close to its level (Fagerland et al. 2013)."""
    below, at = _binomial_tail(only_a, only_b)
    return min(1.0, 2 * below + at)


def holm_correction(p_values: Sequence[float]) -> list[float]:
    """The corrected p-values, in the same order: rejecting those below 5 % has a 5 % risk of any false rejection."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def _binomial_tail(only_a: int, only_b: int) -> tuple[float, float]:
    """The probability of a smaller count than the smaller of the two, and the probability of exactly that count."""
    trials, fewer = only_a + only_b, min(only_a, only_b)
    logarithm = math.lgamma(trials + 1) - math.lgamma(fewer + 1) - math.lgamma(trials - fewer + 1)
    at = math.exp(logarithm - trials * math.log(2))
    below, term = 0.0, at
    for count in range(fewer, 0, -1):
        term *= count / (trials - count + 1)
        below += term
        if term < _NEGLIGIBLE * below:
            break
    return below, at
