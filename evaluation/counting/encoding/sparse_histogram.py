"""A histogram of pairs of integers, most of which never occur."""

from typing import Any

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]

DENSE_CELLS = 1 << 22  # 16 MB; beyond it pairs are sorted, which takes 60 ns a pair instead of 1
PENDING_PAIRS = 1 << 20  # number of pairs that are sorted together
_ROWS = 1 << 32
_UINT32_MAX = (1 << 32) - 1


class SparseHistogram2D:
    """Counts of (row, column): a dense array up to `DENSE_CELLS` cells (2,048 classes), beyond them a sorted list.

    Rows are in [0, 2^31), columns in [-2^31, 2^31).
    """

    def __init__(self) -> None:
        self._low = 0
        self._added = 0
        self._cells: npt.NDArray[Any] | None = np.zeros((0, 0), np.uint32)
        self._keys = np.zeros(0, np.int64)
        self._counts = np.zeros(0, np.int64)
        self._pending: list[Integers] = []

    def add(self, rows: Integers, columns: npt.NDArray[np.signedinteger]) -> None:
        """Count the pairs of two arrays of equal length."""
        if not len(rows):
            return
        if self._cells is not None:
            self._grow(self._cells, int(rows.max()) + 1, int(columns.min()), int(columns.max()) + 1)
        if self._cells is not None:
            self._added += len(rows)
            if self._added > _UINT32_MAX and self._cells.dtype != np.int64:
                self._cells = self._cells.astype(np.int64)
            one = self._cells.dtype.type(1)  # numpy takes ten times as long to add another type
            np.add.at(self._cells.reshape(-1), rows * self._cells.shape[1] + (columns - self._low), one)
            return
        self._pending.append(rows * _ROWS + columns)
        if sum(map(len, self._pending)) > PENDING_PAIRS:
            self._flush()

    def items(self) -> tuple[Integers, Integers, Integers]:
        """The pairs that occurred, ascending, and their counts: rows, columns, counts."""
        if self._cells is not None:
            rows, columns = np.nonzero(self._cells)
            return rows, columns + self._low, self._cells[rows, columns].astype(np.int64)
        self._flush()
        rows = (self._keys + _ROWS // 2) // _ROWS
        return rows, self._keys - rows * _ROWS, self._counts

    def _grow(self, cells: npt.NDArray[Any], rows: int, low: int, high: int) -> None:
        """Make the dense array hold these rows and the columns in [low, high), or replace it by the sorted list."""
        height, width = cells.shape
        if rows <= height and low >= self._low and high <= self._low + width:
            return
        if width:
            low, high = min(low, self._low), max(high, self._low + width)
        rows = max(rows, height)
        spare = max(16, (high - low) // 4)  # avoids growth at every batch
        for tall, start, end in ((rows + rows // 4, low - spare, high + spare), (rows, low, high)):
            if tall * (end - start) <= DENSE_CELLS:
                self._cells = np.zeros((tall, end - start), cells.dtype)
                self._cells[:height, self._low - start : self._low - start + width] = cells
                self._low = start
                return
        used_rows, used_columns, counts = self.items()
        self._keys, self._counts = used_rows * _ROWS + used_columns, counts
        self._cells = None

    def _flush(self) -> None:
        """Merge the pending pairs into the sorted list."""
        if not self._pending:
            return
        keys, counts = np.unique(np.concatenate(self._pending), return_counts=True)
        self._pending = []
        places = np.searchsorted(self._keys, keys)
        known = np.zeros(len(keys), bool)
        inside = np.flatnonzero(places < len(self._keys))
        known[inside] = self._keys[places[inside]] == keys[inside]
        self._counts[places[known]] += counts[known]
        new = places[~known]
        self._keys = np.insert(self._keys, new, keys[~known])
        self._counts = np.insert(self._counts, new, counts[~known])
