"""Numbers in memory that the processes of one server share: each process writes its own row, any process reads all.

A row belongs to the process that locks it. When that process ends, a later one takes the row with its counts, so that
no count ever decreases.
"""

import fcntl
import mmap
import os
import tempfile
import threading
from collections.abc import Sequence

_NUMBER_BYTES = 8
_ROWS = 64  # of a server with more processes, the last ones are not counted; a row takes no memory before its use


class SharedCounters:
    """Rows of `columns` numbers in a file, or one row in the memory of this process without `path`. Raises OSError."""

    def __init__(self, columns: int, path: str | None = None) -> None:
        self.lock = threading.Lock()
        self._columns = columns
        rows = 1 if path is None else _ROWS
        descriptor = -1 if path is None else _open(path, rows * columns * _NUMBER_BYTES)
        self._memory = mmap.mmap(descriptor, rows * columns * _NUMBER_BYTES)
        self._all = memoryview(self._memory).cast("d")
        row = 0 if path is None else _take_row(descriptor, rows)
        self.own = self._all[row * columns : (row + 1) * columns]

    def rows(self) -> list[Sequence[float]]:
        """A copy of every row that was ever used: its first number is not zero."""
        starts = range(0, len(self._all), self._columns)
        return [self._all[start : start + self._columns].tolist() for start in starts if self._all[start]]


def create_counters_file() -> str:
    """An empty file that only this user can read, for the processes of one server. Raises OSError."""
    descriptor, path = tempfile.mkstemp(prefix="hybrid-batch-counters-")
    os.close(descriptor)
    return path


def _open(path: str, size: int) -> int:
    """The descriptor of the file, which stays open until the process ends, and so does the lock of its row."""
    descriptor = os.open(path, os.O_RDWR)
    if os.fstat(descriptor).st_size < size:
        os.ftruncate(descriptor, size)  # sparse: every process sets the same size
    return descriptor


def _take_row(descriptor: int, rows: int) -> int:
    """The first row that no living process has, locked until this process ends; the last one if all are taken."""
    for row in range(rows):
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, row)
        except OSError:
            continue
        return row
    return rows - 1
