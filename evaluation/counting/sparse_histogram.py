"""How often each pair of whole numbers occurs."""

from typing import Any

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]

DENSE_CELLS = 1 << 22  # 16 MB; above it pairs are sorted instead: 60 ns a pair against 1
WAITING = 1 << 20  # pairs that are sorted at once
_ROWS = 1 << 32
_MOST = (1 << 32) - 1  # that 32 bits count


class Pairs:
    """Counts of (row, column): a dense array while that is small (of 2,048 classes it is), else only the pairs met.

    Rows are in [0, 2^31), columns in [-2^31, 2^31).
    """

    def __init__(self) -> None:
        self._low = 0
        self._added = 0
        self._cells: npt.NDArray[Any] | None = np.zeros((0, 0), np.uint32)
        self._keys = np.zeros(0, np.int64)
        self._counts = np.zeros(0, np.int64)
        self._waiting: list[Integers] = []

    def add(self, rows: Integers, columns: npt.NDArray[np.signedinteger]) -> None:
        """Count the pairs of two arrays of equal length."""
        if not len(rows):
            return
        if self._cells is not None:
            self._fit(self._cells, int(rows.max()) + 1, int(columns.min()), int(columns.max()) + 1)
        if self._cells is not None:
            self._added += len(rows)
            if self._added > _MOST and self._cells.dtype != np.int64:
                self._cells = self._cells.astype(np.int64)
            one = self._cells.dtype.type(1)  # of another type it would take ten times as long
            np.add.at(self._cells.reshape(-1), rows * self._cells.shape[1] + (columns - self._low), one)
            return
        self._waiting.append(rows * _ROWS + columns)
        if sum(map(len, self._waiting)) > WAITING:
            self._settle()

    def items(self) -> tuple[Integers, Integers, Integers]:
        """The pairs that occurred, in order, and how often: rows, columns, counts."""
        if self._cells is not None:
            rows, columns = np.nonzero(self._cells)
            return rows, columns + self._low, self._cells[rows, columns].astype(np.int64)
        self._settle()
        rows = (self._keys + _ROWS // 2) // _ROWS
        return rows, self._keys - rows * _ROWS, self._counts

    def _fit(self, cells: npt.NDArray[Any], rows: int, low: int, high: int) -> None:
        """Grow the array to hold these rows and the columns in [low, high), or give it up."""
        height, width = cells.shape
        if rows <= height and low >= self._low and high <= self._low + width:
            return
        if width:
            low, high = min(low, self._low), max(high, self._low + width)
        rows = max(rows, height)
        spare = max(16, (high - low) // 4)  # so that it does not grow at every batch
        for tall, start, end in ((rows + rows // 4, low - spare, high + spare), (rows, low, high)):
            if tall * (end - start) <= DENSE_CELLS:
                self._cells = np.zeros((tall, end - start), cells.dtype)
                self._cells[:height, self._low - start : self._low - start + width] = cells
                self._low = start
                return
        met, columns, counts = self.items()
        self._keys, self._counts = met * _ROWS + columns, counts
        self._cells = None

    def _settle(self) -> None:
        """Sort what is waiting into what is counted."""
        if not self._waiting:
            return
        met, counts = np.unique(np.concatenate(self._waiting), return_counts=True)
        self._waiting = []
        places = np.searchsorted(self._keys, met)
        known = np.zeros(len(met), bool)
        inside = np.flatnonzero(places < len(self._keys))
        known[inside] = self._keys[places[inside]] == met[inside]
        self._counts[places[known]] += counts[known]
        fresh = places[~known]
        self._keys = np.insert(self._keys, fresh, met[~known])
        self._counts = np.insert(self._counts, fresh, counts[~known])
