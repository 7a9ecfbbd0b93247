"""Runs of the same records, of both versions of the schema, that differ only in the partition and in the order."""

import hashlib
import io
import random
from collections.abc import Iterator
from functools import cache

import pyarrow.parquet as pq

from hybrid_batch.data.log.records import PART_NAME, Record, to_table
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.evaluation.counting.counts import merge_counts
from hybrid_batch.evaluation.counting.record_counter import count_table
from hybrid_batch.evaluation.output.canonical_json import to_json
from hybrid_batch.evaluation.report import build_report
from tests.factories.records import random_records, write_run
from tests.factories.version_1 import to_table_1

RECORDS = random_records(400, ["cat", "dog", "é", "fox"])
FORMER = 150  # of the records are in parts of version 1 of the schema
BY = ["batch", "model"]


def write_partition(uri: str, seed: int) -> str:
    """Write a run of all records, with sizes of parts and row groups from the seed; returns its URI."""
    write_run(uri, [], 1)
    order = random.Random(seed)
    tables = [to_table_1(records) for records in _parts(order, RECORDS[:FORMER])]
    tables += [to_table(records) for records in _parts(order, RECORDS[FORMER:])]
    for index, table in enumerate(order.sample(tables, len(tables))):
        file = io.BytesIO()
        pq.write_table(table, file, row_group_size=50 + index * 37)
        open_storage(uri).write_once(PART_NAME.format(index), file.getvalue())
    return uri


def _parts(order: random.Random, records: list[Record]) -> Iterator[list[Record]]:
    shuffled = order.sample(records, len(records))
    while shuffled:
        size = order.choice([1, order.randint(1, 100), order.randint(100, 400)])
        yield shuffled[:size]
        shuffled = shuffled[size:]


@cache
def expected() -> str:
    """The sha256 of the report of all records, counted as one table of each version."""
    tables = (to_table_1(RECORDS[:FORMER]), to_table(RECORDS[FORMER:]))
    return sha256(to_json(build_report(merge_counts(count_table(table, BY) for table in tables))))


def sha256(text: str) -> str:
    """The sha256 of a text, in hexadecimal."""
    return hashlib.sha256(text.strip().encode()).hexdigest()
