"""McNemar's test (1947): do two classifiers err equally often on the same images?

Only the images that one alone gets right tell. Under the null each falls to either side with probability 1/2, so the
p-values are those of the binomial distribution, two-sided, computed without approximation.
"""

import math

_NEGLIGIBLE = 1e-18


def exact_p(only_a: int, only_b: int) -> float:
    """The exact p-value: never above its level under the null, and far below it where few images tell."""
    below, at = _tail(only_a, only_b)
    return min(1.0, 2 * (below + at))


def mid_p(only_a: int, only_b: int) -> float:
    """The p-value that counts what was seen by half: near its level under the null (Fagerland et al. 2013)."""
    below, at = _tail(only_a, only_b)
    return min(1.0, 2 * below + at)


def _tail(only_a: int, only_b: int) -> tuple[float, float]:
    """Of the smaller count, the probability to be less, and to be as it is."""
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
