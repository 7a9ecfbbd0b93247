"""Exemplars: the most confident errors, at most `PER_CELL` of each cell of the confusion matrix, `AT_MOST` in all.

Errors are taken by falling confidence (equals by label, prediction and image, as text) and passed over when their
cell is full. What this takes from all records it also takes from any part of them that holds it: there, no more
errors stand before it and no more are in its cell. So bags merge in any order without losing one. Where the matrix
has up to AT_MOST / PER_CELL cells of errors, every cell has its own.
"""

from collections import Counter

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hybrid_batch.evaluation.counting.fixed_point import Integers
from hybrid_batch.evaluation.report_schema import Exemplar

PER_CELL = 5
AT_MOST = 1000
_WAITING = 4 * AT_MOST
_NAMES = ("label", "prediction", "image", "confidence")
_SCHEMA = pa.schema([*((name, pa.string()) for name in _NAMES[:3]), ("confidence", pa.int64())])
_ORDER = [("confidence", "descending"), *((name, "ascending") for name in _NAMES[:3])]


class Exemplars:
    """The exemplars among the errors added so far; `threshold` is what an error must reach to be one."""

    def __init__(self) -> None:
        self.threshold = 0
        self._found = _SCHEMA.empty_table()
        self._waiting: list[pa.Table] = []

    def add(self, label: pa.Array, prediction: pa.Array, image: pa.Array, confidence: npt.NDArray[np.float32]) -> None:
        """Add errors, a row each; confidences are not negative."""
        self._waiting.append(pa.table([label, prediction, image, ordered(confidence)], schema=_SCHEMA))
        if sum(map(len, self._waiting)) > _WAITING:
            self.table()

    def table(self) -> pa.Table:
        """The rows of the tally `exemplars`."""
        if self._waiting:
            self._found = best(pa.concat_tables([self._found, *self._waiting]))
            self._waiting = []
            if len(self._found) == AT_MOST:
                self.threshold = self._found["confidence"][-1].as_py()
        return self._found


def ordered(confidence: npt.NDArray[np.float32]) -> Integers:
    """Confidences, which are not negative, as integers in the same order."""
    return confidence.view(np.int32).astype(np.int64)


def best(errors: pa.Table) -> pa.Table:
    """The exemplars among errors, in order and each once; a table as the one given, of the tally `exemplars`."""
    errors = errors.sort_by(_ORDER)
    taken: Counter[tuple[str, str]] = Counter()
    rows: list[int] = []
    last = None
    for row, error in enumerate(zip(*(errors[name].to_pylist() for name in _NAMES), strict=True)):
        cell = error[:2]
        if error != last and taken[cell] < PER_CELL:
            taken[cell] += 1
            rows.append(row)
            if len(rows) == AT_MOST:
                break
        last = error
    return errors.take(pa.array(rows, pa.int64()))


def exemplars(found: pa.Table) -> list[Exemplar]:
    """The rows of the tally `exemplars`, in its order."""
    return [
        Exemplar(
            image=row["image"],
            label=row["label"],
            prediction=row["prediction"],
            confidence=float(np.array(row["confidence"], np.int32).view(np.float32)),
        )
        for row in found.to_pylist()
    ]
