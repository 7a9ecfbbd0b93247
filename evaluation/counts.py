"""Counts: the bag of integers that a shard maps to, that merges by addition, and that reports come from.

| key | counts |
|---|---|
| `("errors",)` | records with an error or without a prediction; nothing else is counted of them |
| `("unlabelled",)` | classified records whose true label is not known |
| `("confusion", label, prediction)` | classified records with a label |
| `("n", cut)` | classified records |
| `("sum", cut, column)` | the column's sum over them, for the columns of `SUMMED` |
| `("latency", cut, stage, bucket)` | records whose time in the stage fell in this bucket of `latency.py` |
| `("bad_part", sentence)` | parts of a run that could not be read, and why |

All values are integers, so the sum is the same in whatever order and grouping the shards are added.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data.records import SCHEMA, SCHEMA_VERSION, STAGES
from evaluation.latency import bucket

Key = tuple[str | int, ...]
Counts = dict[Key, int]
Codes = npt.NDArray[np.int64]

BYTES = ("image_bytes", "sent_bytes", "received_bytes")
SUMMED = (*BYTES, *(f"{stage}_us" for stage in STAGES))
COLUMNS = ("label", "prediction", "cut", *SUMMED, "error")


class NotRecords(ValueError):
    """The table is not one of records, or of another version of their schema; the message says why."""


def count_shard(table: pa.Table) -> Counts:
    """The counts of a table of records, which needs the columns `COLUMNS` of `data.records.SCHEMA`.

    Raises NotRecords.
    """
    records = _records(table)
    records = records.filter(pc.and_(pc.is_null(records["error"]), pc.is_valid(records["prediction"])))
    for name in ("cut", *SUMMED):
        if records[name].null_count:
            raise NotRecords(f"{records[name].null_count} of its classified records have no {name}")

    counts: Counts = {("errors",): len(table) - len(records)}
    labels, label = _codes(records["label"])
    predictions, prediction = _codes(records["prediction"])
    cuts, cut = _codes(records["cut"])
    labelled = label >= 0
    counts["unlabelled",] = len(records) - int(labelled.sum())
    for true, predicted, n in _tally(label[labelled], prediction[labelled]):
        counts["confusion", labels[true], predictions[predicted]] = n
    for stage in STAGES:
        for code, cell, n in _tally(cut, bucket(_integers(records[f"{stage}_us"]))):
            counts["latency", cuts[code], stage, cell] = n
    sums = records.group_by("cut").aggregate([([], "count_all"), *((name, "sum") for name in SUMMED)])
    for row in sums.to_pylist():
        counts["n", row["cut"]] = row["count_all"]
        for name in SUMMED:
            counts["sum", row["cut"], name] = row[f"{name}_sum"]
    return counts


def merge(bags: Iterable[Counts]) -> Counts:
    """The sum of any number of counts; the bags given stay as they were."""
    total: Counter[Key] = Counter()
    for bag in bags:
        total.update(bag)
    return dict(total)


def to_bytes(counts: Counts) -> bytes:
    """The counts as one line of ASCII JSON, `[[*key, n], ...]` sorted: equal counts give equal bytes."""
    return json.dumps([[*key, n] for key, n in sorted(counts.items())], separators=(",", ":")).encode()


def from_bytes(data: bytes) -> Counts:
    """The counts that `to_bytes` wrote."""
    return {tuple(key): n for *key, n in json.loads(data)}


def _records(table: pa.Table) -> pa.Table:
    """The counted columns, each with one dictionary and the type of the schema."""
    version = (table.schema.metadata or {}).get(b"hybrid_batch.schema", str(SCHEMA_VERSION).encode()).decode()
    if version != str(SCHEMA_VERSION):
        raise NotRecords(
            f"its records are of schema version {version}, of which this hybrid-batch, that reads version "
            f"{SCHEMA_VERSION}, knows nothing"
        )
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing:
        raise NotRecords(f"it holds no records: it has no column {', '.join(missing)}")
    try:
        return table.select(COLUMNS).cast(pa.schema([SCHEMA.field(name) for name in COLUMNS])).unify_dictionaries()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise NotRecords(f"it holds no records: {error}") from error


def _codes(column: pa.ChunkedArray) -> tuple[list[str], Codes]:
    """A dictionary column as its words and, per row, which word; -1 where null."""
    words = column.combine_chunks()
    return words.dictionary.to_pylist(), _integers(words.indices.fill_null(-1))


def _integers(column: pa.Array | pa.ChunkedArray) -> Codes:
    return np.asarray(column.to_numpy(), dtype=np.int64)


def _tally(rows: Codes, columns: npt.NDArray[np.signedinteger]) -> Iterator[tuple[int, int, int]]:
    """Each (row, column) pair that occurs, and how often."""
    if not len(rows):
        return
    first = int(columns.min())
    width = int(columns.max()) - first + 1
    cells, counts = np.unique(rows * width + (columns - first), return_counts=True)
    row, column = np.divmod(cells, width)
    yield from zip(row.tolist(), (column + first).tolist(), counts.tolist(), strict=True)
