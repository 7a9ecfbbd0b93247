"""The counts of all values of one column at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hybrid_batch.evaluation.counting.counts import TALLIES, Counts
from hybrid_batch.evaluation.counting.encoding.sparse_histogram import SparseHistogram2D
from hybrid_batch.evaluation.counting.encoding.vocabulary import Vocabulary

Integers = npt.NDArray[np.int64]
_NO_MIN, _NO_MAX = np.iinfo(np.int64).max, np.iinfo(np.int64).min
_MEASURES = TALLIES["slices"].sums


@dataclass(frozen=True, slots=True)
class BatchColumns:
    """The numbers of a batch of classified records, by measure of the tally `slices` and by stage.

    `positions` has the rows in which a rare measure is 1, `values` one element a row. `times_us` and `buckets` have one
    element for each of the stage's `rows`, which are all rows where it has none.
    """

    positions: dict[str, Integers]
    values: dict[str, Integers]
    times_us: dict[str, Integers]
    buckets: dict[str, npt.NDArray[np.int32]]
    rows: dict[str, Integers]


class GroupCounter:
    """The counts of records by group: a code from 0 upwards for a value of a column, or for a combination of values."""

    def __init__(self, stages: Sequence[str]) -> None:
        self._stages = stages
        self._measures = np.zeros((len(_MEASURES), 0), np.int64)
        self._sums = np.zeros((len(stages), 0), np.int64)
        self._minima = np.zeros((len(stages), 0), np.int64)
        self._maxima = np.zeros((len(stages), 0), np.int64)
        self._latency = {stage: SparseHistogram2D() for stage in stages}

    def add_errors(self, groups: Integers) -> None:
        """Count records that were not classified, by the group of each."""
        self._grow(groups)
        np.add.at(self._measures[_MEASURES.index("errors")], groups, 1)

    def add(self, groups: Integers, columns: BatchColumns) -> None:
        """Count classified records, by the group of each."""
        self._grow(groups)
        for name, values in columns.values.items():
            np.add.at(self._measures[_MEASURES.index(name)], groups, values)
        for name, positions in columns.positions.items():
            np.add.at(self._measures[_MEASURES.index(name)], groups[positions], 1)
        for place, stage in enumerate(self._stages):
            times = columns.times_us[stage]
            timed = groups[columns.rows[stage]] if stage in columns.rows else groups
            np.add.at(self._sums[place], timed, times)
            np.minimum.at(self._minima[place], timed, times)
            np.maximum.at(self._maxima[place], timed, times)
            self._latency[stage].add(timed, columns.buckets[stage])

    def counts(self, by: str, vocabulary: Vocabulary, codes: Integers) -> Counts:
        """The tallies `slices`, `stages` and `latency` under the column name `by`.

        `codes` has for each group the code of its value in the vocabulary; several groups may have one value.
        """
        tables: dict[str, list[pa.Table]] = {"stages": [], "latency": []}
        records = np.zeros(self._measures.shape[1], np.int64)
        for place, stage in enumerate(self._stages):
            groups, buckets, counts = self._latency[stage].items()
            if stage == self._stages[-1]:
                np.add.at(records, groups, counts)
            tables["latency"].append(_table("latency", by, vocabulary.decode(codes[groups]), stage, buckets, counts))
            used = np.flatnonzero(self._minima[place] != _NO_MIN)
            columns = (self._sums[place][used], self._minima[place][used], self._maxima[place][used])
            tables["stages"].append(_table("stages", by, vocabulary.decode(codes[used]), stage, *columns))
        measures = self._measures.copy()
        measures[_MEASURES.index("records")] = records + measures[_MEASURES.index("errors")]
        used = np.flatnonzero(measures[_MEASURES.index("records")])
        slices = _table("slices", by, vocabulary.decode(codes[used]), None, *measures[:, used])
        return {"slices": slices, **{name: pa.concat_tables(parts) for name, parts in tables.items()}}

    def totals(self, groups: int) -> dict[str, Integers]:
        """The columns of the tally `runs` that are sums, for this number of groups."""
        measures = dict(zip(_MEASURES, self._measures[:, :groups], strict=True))
        classified = np.zeros(groups, np.int64)
        of_group, _, records = self._latency[self._stages[-1]].items()
        np.add.at(classified, of_group, records)
        return {
            "records": classified + measures["errors"],
            "errors": measures["errors"],
            "labelled": classified - measures["unlabelled"],
            "correct": measures["correct"],
        }

    def _grow(self, groups: Integers) -> None:
        size, required = self._measures.shape[1], int(groups.max(initial=-1)) + 1
        if required > size:
            more = ((0, 0), (0, required + required // 4 - size))
            self._measures, self._sums = np.pad(self._measures, more), np.pad(self._sums, more)
            self._minima = np.pad(self._minima, more, constant_values=_NO_MIN)
            self._maxima = np.pad(self._maxima, more, constant_values=_NO_MAX)


def _table(tally: str, by: str, values: pa.Array, stage: str | None, *numbers: Integers) -> pa.Table:
    keys = [_repeat(by, len(values)), values]
    if stage is not None:
        keys.append(_repeat(stage, len(values)))
    return pa.Table.from_arrays([*keys, *map(pa.array, numbers)], schema=TALLIES[tally].schema)


def _repeat(word: str, times: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(times, np.int32)), [word])
