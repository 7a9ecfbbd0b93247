"""Combinations of values of several columns as small integers."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.int64]
_MAX_CELLS = 1 << 16  # of a lookup by mixed-radix number; numbers beyond it are sorted, which takes 60 ns a row


class Combinations:
    """Combinations of codes, numbered from 0 in the order of their first occurrence."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[int, ...], int] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def encode(self, columns: Sequence[Codes], sizes: Sequence[int]) -> Codes:
        """The number of each row's combination; codes of a column are below its size, which may grow between calls."""
        joint, combinations = np.zeros(len(columns[0]), np.int64), np.zeros((1, 0), np.int64)
        radices: list[int] = []
        span = 1  # of the numbers in `joint`, which index the combinations and have the radices as further digits
        for column, size in zip(columns, sizes, strict=True):
            if span * size > _MAX_CELLS:
                joint, combinations = _compact(joint, combinations, radices, span)
                radices, span = [], len(combinations)
            joint = joint * size + column
            radices.append(size)
            span *= size
        joint, combinations = _compact(joint, combinations, radices, span)
        numbers = [self._numbers.setdefault(tuple(row), len(self._numbers)) for row in combinations.tolist()]
        encoded: Codes = np.array(numbers, np.int64)[joint]
        return encoded

    def codes(self, columns: int) -> Codes:
        """The codes of each combination, (combinations, columns)."""
        return np.array(list(self._numbers), np.int64).reshape(-1, columns)


def _compact(joint: Codes, combinations: Codes, radices: Sequence[int], span: int) -> tuple[Codes, Codes]:
    """The rows as indices of the combinations that occur, and these combinations with the radices' digits."""
    if span <= _MAX_CELLS:
        present = np.bincount(joint, minlength=span) > 0
        values, dense = np.flatnonzero(present), (np.cumsum(present) - 1)[joint]
    else:
        values, dense = np.unique(joint, return_inverse=True)
    digits = []
    for radix in reversed(radices):
        values, digit = np.divmod(values, radix)
        digits.append(digit)
    return dense, np.column_stack([combinations[values], *reversed(digits)])
