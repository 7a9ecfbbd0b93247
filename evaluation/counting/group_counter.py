"""What is counted of the records that share a value, for every value of a column at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hybrid_batch.evaluation.counting.counts import TALLIES, Counts
from hybrid_batch.evaluation.counting.sparse_histogram import Pairs
from hybrid_batch.evaluation.counting.vocabulary import Words

Integers = npt.NDArray[np.int64]
_NO_MIN, _NO_MAX = np.iinfo(np.int64).max, np.iinfo(np.int64).min
_MEASURES = TALLIES["slices"].sums


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of classified records, by measure of the tally `slices` and by stage.

    `ones` holds the positions at which a measure is 1 where that is rare, `values` every record's, `buckets` the
    bucket of every record's time.
    """

    ones: dict[str, Integers]
    values: dict[str, Integers]
    times_us: dict[str, Integers]
    buckets: dict[str, npt.NDArray[np.int32]]


class Grouping:
    """The integers of each value of a column; a value is known by its code, from 0 upwards."""

    def __init__(self, stages: Sequence[str]) -> None:
        self._stages = stages
        self._measures = np.zeros((len(_MEASURES), 0), np.int64)
        self._sums = np.zeros((len(stages), 0), np.int64)
        self._smallest = np.zeros((len(stages), 0), np.int64)
        self._largest = np.zeros((len(stages), 0), np.int64)
        self._latency = {stage: Pairs() for stage in stages}

    def add_errors(self, codes: Integers) -> None:
        """Count records that were not classified."""
        self._fit(codes)
        np.add.at(self._measures[_MEASURES.index("errors")], codes, 1)

    def add(self, codes: Integers, facts: Facts) -> None:
        """Count classified records."""
        self._fit(codes)
        for name, values in facts.values.items():
            np.add.at(self._measures[_MEASURES.index(name)], codes, values)
        for name, positions in facts.ones.items():
            np.add.at(self._measures[_MEASURES.index(name)], codes[positions], 1)
        for place, stage in enumerate(self._stages):
            times = facts.times_us[stage]
            np.add.at(self._sums[place], codes, times)
            np.minimum.at(self._smallest[place], codes, times)
            np.maximum.at(self._largest[place], codes, times)
            self._latency[stage].add(codes, facts.buckets[stage])

    def counts(self, by: str, words: Words, word: Integers) -> Counts:
        """The tallies `slices`, `stages` and `latency`; `word` says which of the words each code stands for."""
        tables: dict[str, list[pa.Table]] = {"stages": [], "latency": []}
        records = np.zeros(self._measures.shape[1], np.int64)
        for place, stage in enumerate(self._stages):
            codes, buckets, counts = self._latency[stage].items()
            if stage == self._stages[-1]:
                np.add.at(records, codes, counts)
            tables["latency"].append(_table("latency", by, words.words(word[codes]), stage, buckets, counts))
            met = np.flatnonzero(self._smallest[place] != _NO_MIN)
            columns = (self._sums[place][met], self._smallest[place][met], self._largest[place][met])
            tables["stages"].append(_table("stages", by, words.words(word[met]), stage, *columns))
        measures = self._measures.copy()
        measures[_MEASURES.index("records")] = records + measures[_MEASURES.index("errors")]
        met = np.flatnonzero(measures[_MEASURES.index("records")])
        slices = _table("slices", by, words.words(word[met]), None, *measures[:, met])
        return {"slices": slices, **{name: pa.concat_tables(parts) for name, parts in tables.items()}}

    def _fit(self, codes: Integers) -> None:
        have, need = self._measures.shape[1], int(codes.max(initial=-1)) + 1
        if need > have:
            more = ((0, 0), (0, need + need // 4 - have))
            self._measures, self._sums = np.pad(self._measures, more), np.pad(self._sums, more)
            self._smallest = np.pad(self._smallest, more, constant_values=_NO_MIN)
            self._largest = np.pad(self._largest, more, constant_values=_NO_MAX)


def _table(tally: str, by: str, values: pa.Array, stage: str | None, *numbers: Integers) -> pa.Table:
    words = [_repeated(by, len(values)), values]
    if stage is not None:
        words.append(_repeated(stage, len(values)))
    return pa.Table.from_arrays([*words, *map(pa.array, numbers)], schema=TALLIES[tally].schema)


def _repeated(word: str, times: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(times, np.int32)), [word])
