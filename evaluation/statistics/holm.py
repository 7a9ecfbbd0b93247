"""Holm's correction (1979): p-values of many tests that together err as rarely as one."""

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """The corrected p-values, in the order given: reject those up to 5 %, and any false one is among them in 5 %."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected
