"""Counts: the bag of integers that records map to, that merges by addition, and that reports come from.

A bag is a small table for each of `TALLIES`: key columns, and integers to each distinct key. To merge is to put
tables under each other and to sum by key (or to keep the smallest, the largest), so the result is the same in
whatever order and grouping the records come. Tables, not `{key: int}`: a thousand classes have a million cells of
confusion, 200 MB as a dict against 12 as Arrow, and merge 30 times slower.

| tally | counts |
|---|---|
| `confusion` | classified records with a label, by label and prediction |
| `slices` | records by the value of a column: how many, errors, unlabelled, correct, in the top 5; bytes |
| `stages` | the sum, smallest and largest time of a stage, by the value of a column |
| `latency` | records by the value of a column, the stage and the bucket (`latency.py`) of its time |
| `calibration` | labelled records by cell of confidence (`calibration.py`), and the sum of their confidences |
| `scores` | sums of scores of the confidence |
| `minutes` | classified records by the minute of their start: how many, first start, last end |
| `exemplars` | the most confident errors (`exemplars.py`) |
| `overflows` | columns with more than `MAX_VALUES` values, which are not sliced |
| `bad_parts` | a sentence for each part of a run that could not be read |
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hybrid_batch.evaluation.counting import confident_errors as exemplars
from hybrid_batch.evaluation.counting.vocabulary import Words

MAX_VALUES = 4096
OVERALL = ""  # the `by` of the slice of all records
BYTES = ("image_bytes", "sent_bytes", "received_bytes")

Counts = dict[str, pa.Table]
Column = npt.NDArray[np.signedinteger]


@dataclass(frozen=True, slots=True)
class Tally:
    """The columns of one table: its keys, and what is summed, minimised and maximised by key.

    Keys are words, which recur from row to row, texts, which do not, and numbers.
    """

    words: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    sums: tuple[str, ...] = ()
    smallest: tuple[str, ...] = ()
    largest: tuple[str, ...] = ()

    @property
    def schema(self) -> pa.Schema:
        words = [(name, pa.dictionary(pa.int32(), pa.string())) for name in self.words]
        texts = [(name, pa.string()) for name in self.texts]
        numbers = (*self.numbers, *self.sums, *self.smallest, *self.largest)
        return pa.schema([*words, *texts, *((name, pa.int64()) for name in numbers)])

    def join(self, tables: Iterable[pa.Table]) -> pa.Table:
        """The rows of tables of this schema under each other."""
        return self._worded(*self._coded(tables))

    def merge(self, tables: Iterable[pa.Table]) -> pa.Table:
        """One row for each distinct key of tables of this schema, in any order."""
        columns, vocabularies = self._coded(tables)
        keys = [columns[name] for name in (*self.words, *self.texts, *self.numbers)]
        order = np.lexsort(keys)  # Arrow's group_by takes twice the time, and thrice the memory of the rows
        new = np.zeros(len(order), bool)
        new[:1] = True
        for key in keys:
            found = key[order]
            new[1:] |= found[1:] != found[:-1]
        starts = np.flatnonzero(new)
        for names, kind in ((self.sums, np.add), (self.smallest, np.minimum), (self.largest, np.maximum)):
            columns |= {name: kind.reduceat(columns[name][order], starts) for name in names}
        columns |= {name: columns[name][order[starts]] for name in (*self.words, *self.texts, *self.numbers)}
        return self._worded(columns, vocabularies)

    def _coded(self, tables: Iterable[pa.Table]) -> tuple[dict[str, Column], dict[str, Words]]:
        """All rows of the tables by column, with codes for words and texts. Arrow (26) crashes unifying dictionaries
        of columns that hold nulls."""
        table = pa.concat_tables(tables)
        vocabularies = {name: Words() for name in (*self.words, *self.texts)}
        columns: dict[str, Column] = {}
        for name in self.schema.names:
            chunks, table = table[name].chunks, table.drop_columns(name)  # whose memory is free once it is coded
            words = vocabularies.get(name)
            found = [words.codes(one).astype(np.int32) if words is not None else one.to_numpy() for one in chunks]
            columns[name] = np.concatenate([np.zeros(0, found[0].dtype if found else np.int64), *found])
        return columns, vocabularies

    def _worded(self, columns: Mapping[str, Column], vocabularies: Mapping[str, Words]) -> pa.Table:
        worded = {name: words.words(columns[name]) for name, words in vocabularies.items()}
        texts = {name: worded[name].cast(pa.string()) for name in self.texts}
        return pa.table({**columns, **worded, **texts}, schema=self.schema)


TALLIES = {
    "confusion": Tally(words=("label", "prediction"), sums=("records",)),
    "slices": Tally(
        words=("by", "value"),
        sums=("records", "errors", "unlabelled", "correct", "top5_unknown", "top5_correct", *BYTES),
    ),
    "stages": Tally(words=("by", "value", "stage"), sums=("sum_us",), smallest=("min_us",), largest=("max_us",)),
    "latency": Tally(words=("by", "value", "stage"), numbers=("bucket",), sums=("records",)),
    "calibration": Tally(numbers=("bin", "bucket", "correct"), sums=("records", "confidence_high", "confidence_low")),
    "scores": Tally(texts=("score",), sums=("high", "low")),
    "minutes": Tally(numbers=("minute",), sums=("records",), smallest=("first_us",), largest=("last_us",)),
    "exemplars": Tally(texts=("label", "prediction", "image"), numbers=("confidence",)),
    "overflows": Tally(texts=("by",), sums=("shares",)),
    "bad_parts": Tally(texts=("sentence",), sums=("parts",)),
}
_AT_ONCE = 4
_SLICED = ("slices", "stages", "latency")


def bag(**tallies: Mapping[str, object] | pa.Table) -> Counts:
    """The counts that have these columns in these tallies and nothing in the others."""
    return {name: _table(tally.schema, tallies.get(name)) for name, tally in TALLIES.items()}


def _table(schema: pa.Schema, columns: Mapping[str, object] | pa.Table | None) -> pa.Table:
    if isinstance(columns, pa.Table):
        return columns
    return pa.table(columns, schema=schema) if columns is not None else schema.empty_table()


def merge(bags: Iterable[Counts]) -> Counts:
    """The sum of any number of counts, of which it holds a few at a time; the bags given stay as they were."""
    total, rest = bag(), iter(bags)
    while some := list(islice(rest, _AT_ONCE)):
        bags, total = _without_overflows([total, *some]), {}
        some.clear()
        for name, tally in TALLIES.items():
            total[name] = tally.merge(bag.pop(name) for bag in bags)
            pa.default_memory_pool().release_unused()
        total["exemplars"] = exemplars.best(total["exemplars"])
    return total


def _without_overflows(bags: Sequence[Counts]) -> list[Counts]:
    """The bags without slices by columns that have too many values in all of them together."""
    gone = {by for bag in bags for by in bag["overflows"]["by"].to_pylist()}
    values = TALLIES["slices"].merge(bag["slices"] for bag in bags)["by"].value_counts().to_pylist()
    gone |= {found["values"] for found in values if found["counts"] > MAX_VALUES}
    overflows = _table(TALLIES["overflows"].schema, {"by": sorted(gone), "shares": [1] * len(gone)})
    return [_without(gone, bag) | {"overflows": overflows} for bag in bags]


def _without(gone: set[str], counts: Counts) -> Counts:
    if gone.isdisjoint(counts["slices"]["by"].unique().to_pylist()):
        return counts  # mostly: a worker sees by itself that a column has too many values
    return counts | {
        name: counts[name].filter(pc.invert(pc.is_in(counts[name]["by"], pa.array(gone)))) for name in _SLICED
    }


def to_bytes(counts: Counts) -> bytes:
    """The counts as one line of ASCII: the tables as Arrow IPC streams, compressed, in base 64."""
    lines = []
    for name in TALLIES:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, counts[name].schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as stream:
            stream.write_table(counts[name].combine_chunks())
        lines.append(base64.b64encode(sink.getvalue()))
    return b" ".join(lines)


def from_bytes(data: bytes) -> Counts:
    """The counts that `to_bytes` wrote."""
    tables = (pa.ipc.open_stream(base64.b64decode(line)).read_all() for line in data.split(b" "))
    return dict(zip(TALLIES, tables, strict=True))
