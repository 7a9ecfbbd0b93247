"""The most confident errors: at most `PER_CELL` of each cell of the confusion matrix, `MAX_ERRORS` in all.

Errors are selected by descending confidence (ties by label, prediction and image, as text) and skipped when their
cell is full. An error selected from all records is also selected from any subset that contains it: a subset has no
more errors before it, and no more in its cell. So partial selections merge in any order without losing an error. Where
the matrix has at most MAX_ERRORS / PER_CELL cells of errors, every cell has its own examples.
"""

from collections import Counter

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hybrid_batch.evaluation.counting.encoding.fixed_point import Integers
from hybrid_batch.evaluation.report_schema import ConfidentError

PER_CELL = 5
MAX_ERRORS = 1000
_PENDING_ROWS = 4 * MAX_ERRORS
_NAMES = ("label", "prediction", "image", "confidence")
_SCHEMA = pa.schema([*((name, pa.string()) for name in _NAMES[:3]), ("confidence", pa.int64())])
_ORDER = [("confidence", "descending"), *((name, "ascending") for name in _NAMES[:3])]


class ConfidentErrors:
    """The selection among the errors added so far; an error below `threshold` cannot be selected any more."""

    def __init__(self) -> None:
        self.threshold = 0
        self._selected = _SCHEMA.empty_table()
        self._pending: list[pa.Table] = []

    def add(self, label: pa.Array, prediction: pa.Array, image: pa.Array, confidence: npt.NDArray[np.float32]) -> None:
        """Add errors, one in each row of the arrays; confidences are at least 0."""
        self._pending.append(pa.table([label, prediction, image, sortable_bits(confidence)], schema=_SCHEMA))
        if sum(map(len, self._pending)) > _PENDING_ROWS:
            self.table()

    def table(self) -> pa.Table:
        """The rows of the tally `exemplars`."""
        if self._pending:
            self._selected = most_confident(pa.concat_tables([self._selected, *self._pending]))
            self._pending = []
            if len(self._selected) == MAX_ERRORS:
                self.threshold = self._selected["confidence"][-1].as_py()
        return self._selected


def sortable_bits(confidence: npt.NDArray[np.float32]) -> Integers:
    """Confidences of at least 0 as integers in the same order."""
    return confidence.view(np.int32).astype(np.int64)


def most_confident(errors: pa.Table) -> pa.Table:
    """The selected rows of a table with the columns of the tally `exemplars`, ordered and without duplicates."""
    errors = errors.sort_by(_ORDER)
    in_cell: Counter[tuple[str, str]] = Counter()
    rows: list[int] = []
    last = None
    for row, error in enumerate(zip(*(errors[name].to_pylist() for name in _NAMES), strict=True)):
        cell = error[:2]
        if error != last and in_cell[cell] < PER_CELL:
            in_cell[cell] += 1
            rows.append(row)
            if len(rows) == MAX_ERRORS:
                break
        last = error
    return errors.take(pa.array(rows, pa.int64()))


def list_errors(selected: pa.Table) -> list[ConfidentError]:
    """The rows of the tally `exemplars` as the report lists them, in the table's order."""
    return [
        ConfidentError(
            image=row["image"],
            label=row["label"],
            prediction=row["prediction"],
            confidence=float(np.array(row["confidence"], np.int32).view(np.float32)),
        )
        for row in selected.to_pylist()
    ]
