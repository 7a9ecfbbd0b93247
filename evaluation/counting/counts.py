"""Counts: the integer tables that records are reduced to, that merge by addition, and that reports are made from.

Counts are one small table for each of `TALLIES`: key columns, and integers for each distinct key. A merge concatenates
tables and aggregates them by key (sum, minimum or maximum), so the result does not depend on the order or the grouping
of the records. Tables instead of `{key: int}`: a thousand classes have a million cells of confusion, 200 MB as a dict
and 12 MB as Arrow, and a dict merges 30 times slower.

| tally | counts |
|---|---|
| `confusion` | classified records with a label, by label and prediction |
| `slices` | records by the value of a column: total, errors, unlabelled, correct, in the top 5; bytes |
| `stages` | sum, minimum and maximum of a stage's time, by the value of a column |
| `latency` | records by the value of a column, the stage and the bucket (`latency_buckets.py`) of its time |
| `calibration` | labelled records by confidence cell (`calibration_counter.py`), and the sum of their confidences |
| `scores` | sums of the scores of the confidence |
| `confidence` | classified records, labelled or not, by confidence in `CONFIDENCE_BINS` bins, and their sum |
| `runs` | records by run, model, cut, codec and tail: total, errors, labelled, correct, first and last start |
| `failures` | the first records that could not be classified, with their errors (`failures.py`) |
| `periods` | classified records by shard and minute of their start: number, first start, last end |
| `exemplars` | the most confident errors (`confident_errors.py`) |
| `overflows` | columns with more than `MAX_VALUES` values, which are not sliced |
| `bad_parts` | one sentence for each part of a run that is unreadable |
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hybrid_batch.evaluation.counting.confident_errors import most_confident
from hybrid_batch.evaluation.counting.encoding.vocabulary import Vocabulary
from hybrid_batch.evaluation.counting.failures import first_failures

MAX_VALUES = 4096
MAX_CLASSES = 1 << 18
MAX_LETTERS = 64 << 20  # of all names of classes, folders, runs, cuts and tails
MAX_RUNS = 1 << 16  # with their cuts, codecs and tails
MAX_PERIODS = 1 << 20
OVERALL = ""  # the `by` of the slice of all records
BYTE_COLUMNS = ("image_bytes", "cut_bytes", "sent_bytes", "received_bytes")
RUN_COLUMNS = ("run_id", "model", "bundle", "cut", "codec", "tail")

Counts = dict[str, pa.Table]
Column = npt.NDArray[np.signedinteger]


@dataclass(frozen=True, slots=True)
class Tally:
    """The schema of one table: its key columns, and the integer columns that a merge aggregates by key.

    Dictionary keys are strings that recur in many rows, text keys strings that do not; integer keys are integers.
    """

    dictionary_keys: tuple[str, ...] = ()
    text_keys: tuple[str, ...] = ()
    integer_keys: tuple[str, ...] = ()
    sums: tuple[str, ...] = ()
    minima: tuple[str, ...] = ()
    maxima: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        return *self.dictionary_keys, *self.text_keys, *self.integer_keys

    @property
    def schema(self) -> pa.Schema:
        dictionaries = [(name, pa.dictionary(pa.int32(), pa.string())) for name in self.dictionary_keys]
        texts = [(name, pa.string()) for name in self.text_keys]
        integers = (*self.integer_keys, *self.sums, *self.minima, *self.maxima)
        return pa.schema([*dictionaries, *texts, *((name, pa.int64()) for name in integers)])

    def concat(self, tables: Iterable[pa.Table]) -> pa.Table:
        """The rows of all tables, which have this schema."""
        return self._decode(*self._encode(tables))

    def merge(self, tables: Iterable[pa.Table]) -> pa.Table:
        """One row for each distinct key of tables of this schema, in any order."""
        columns, vocabularies = self._encode(tables)
        keys = [columns[name] for name in self.keys]
        order = np.lexsort(keys)  # Arrow's group_by takes twice the time, and three times the memory of the rows
        is_new = np.zeros(len(order), bool)
        is_new[:1] = True
        for key in keys:
            ordered = key[order]
            is_new[1:] |= ordered[1:] != ordered[:-1]
        starts = np.flatnonzero(is_new)
        for names, aggregate in ((self.sums, np.add), (self.minima, np.minimum), (self.maxima, np.maximum)):
            columns |= {name: aggregate.reduceat(columns[name][order], starts) for name in names}
        columns |= {name: columns[name][order[starts]] for name in self.keys}
        return self._decode(columns, vocabularies)

    def _encode(self, tables: Iterable[pa.Table]) -> tuple[dict[str, Column], dict[str, Vocabulary]]:
        """All rows by column, strings as codes. Arrow 26 itself crashes unifying dictionaries of columns with nulls."""
        table = pa.concat_tables(tables)
        vocabularies = {name: Vocabulary() for name in (*self.dictionary_keys, *self.text_keys)}
        columns: dict[str, Column] = {}
        for name in self.schema.names:
            chunks, table = table[name].chunks, table.drop_columns(name)  # frees the column once it is encoded
            vocabulary = vocabularies.get(name)
            arrays = [
                chunk.to_numpy() if vocabulary is None else vocabulary.encode(chunk).astype(np.int32)
                for chunk in chunks
            ]
            columns[name] = np.concatenate([np.zeros(0, arrays[0].dtype if arrays else np.int64), *arrays])
        return columns, vocabularies

    def _decode(self, columns: Mapping[str, Column], vocabularies: Mapping[str, Vocabulary]) -> pa.Table:
        strings = {name: vocabulary.decode(columns[name]) for name, vocabulary in vocabularies.items()}
        texts = {name: strings[name].cast(pa.string()) for name in self.text_keys}
        return pa.table({**columns, **strings, **texts}, schema=self.schema)


TALLIES = {
    "confusion": Tally(dictionary_keys=("label", "prediction"), sums=("records",)),
    "slices": Tally(
        dictionary_keys=("by", "value"),
        sums=("records", "errors", "unlabelled", "correct", "top5_unknown", "top5_correct", *BYTE_COLUMNS),
    ),
    "stages": Tally(dictionary_keys=("by", "value", "stage"), sums=("sum_us",), minima=("min_us",), maxima=("max_us",)),
    "latency": Tally(dictionary_keys=("by", "value", "stage"), integer_keys=("bucket",), sums=("records",)),
    "calibration": Tally(
        integer_keys=("bin", "bucket", "correct"), sums=("records", "confidence_high", "confidence_low")
    ),
    "scores": Tally(text_keys=("score",), sums=("high", "low")),
    "confidence": Tally(integer_keys=("bin",), sums=("records", "high", "low")),
    "runs": Tally(
        dictionary_keys=RUN_COLUMNS,
        sums=("records", "errors", "labelled", "correct"),
        minima=("first_us",),
        maxima=("last_us",),
    ),
    "failures": Tally(text_keys=("image", "error"), sums=("records",)),
    "periods": Tally(
        dictionary_keys=("run_id",),
        integer_keys=("shard", "minute"),
        sums=("records",),
        minima=("first_us",),
        maxima=("last_us",),
    ),
    "exemplars": Tally(text_keys=("label", "prediction", "image"), integer_keys=("confidence",)),
    "overflows": Tally(text_keys=("by",), sums=("shares",)),
    "bad_parts": Tally(text_keys=("sentence",), sums=("parts",)),
}
_MERGED_AT_ONCE = 4
_SLICE_TALLIES = ("slices", "stages", "latency")


def build_counts(**tallies: Mapping[str, object] | pa.Table) -> Counts:
    """Counts with these columns or tables in the named tallies; the other tallies are empty."""
    return {name: _table(tally.schema, tallies.get(name)) for name, tally in TALLIES.items()}


def _table(schema: pa.Schema, columns: Mapping[str, object] | pa.Table | None) -> pa.Table:
    if isinstance(columns, pa.Table):
        return columns
    return pa.table(columns, schema=schema) if columns is not None else schema.empty_table()


def merge_counts(parts: Iterable[Counts]) -> Counts:
    """The sum of any number of counts, a few of which are in memory at a time; the arguments do not change."""
    total, remaining = build_counts(), iter(parts)
    while some := list(islice(remaining, _MERGED_AT_ONCE)):
        terms, total = _drop_overflows([total, *some]), {}
        some.clear()
        for name, tally in TALLIES.items():
            total[name] = tally.merge(counts.pop(name) for counts in terms)
            pa.default_memory_pool().release_unused()
        total["exemplars"] = most_confident(total["exemplars"])
        total["failures"] = first_failures(total["failures"])
    return total


def _drop_overflows(parts: Sequence[Counts]) -> list[Counts]:
    """The counts without the slices by columns that have too many values in all of the counts together."""
    dropped = {by for counts in parts for by in counts["overflows"]["by"].to_pylist()}
    values = TALLIES["slices"].merge(counts["slices"] for counts in parts)["by"].value_counts().to_pylist()
    dropped |= {column["values"] for column in values if column["counts"] > MAX_VALUES}
    overflows = _table(TALLIES["overflows"].schema, {"by": sorted(dropped), "shares": [1] * len(dropped)})
    return [_drop_slices(dropped, counts) | {"overflows": overflows} for counts in parts]


def _drop_slices(dropped: set[str], counts: Counts) -> Counts:
    if dropped.isdisjoint(counts["slices"]["by"].unique().to_pylist()):
        return counts  # the common case: the worker itself dropped the column
    return counts | {
        name: counts[name].filter(pc.invert(pc.is_in(counts[name]["by"], pa.array(dropped)))) for name in _SLICE_TALLIES
    }


def encode_counts(counts: Counts) -> bytes:
    """Counts as one line of ASCII: their tables, each by `encode_table`, separated by spaces."""
    return b" ".join(encode_table(counts[name].combine_chunks()) for name in TALLIES)


def decode_counts(line: bytes) -> Counts:
    """The counts of a line written by `encode_counts`."""
    return dict(zip(TALLIES, map(decode_table, line.split(b" ")), strict=True))


def encode_table(table: pa.Table) -> bytes:
    """A table as one line of ASCII: an Arrow IPC stream, compressed with zstd, in base 64."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as stream:
        stream.write_table(table)
    return base64.b64encode(sink.getvalue())


def decode_table(line: bytes) -> pa.Table:
    """The table of a line written by `encode_table`."""
    return pa.ipc.open_stream(base64.b64decode(line)).read_all()
