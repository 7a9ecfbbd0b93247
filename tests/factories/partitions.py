"""Runs of the same records that differ only in the partition into parts and in the order."""

import hashlib
import io
import random
from collections.abc import Iterator
from functools import cache

import pyarrow.parquet as pq

from hybrid_batch.data.log.records import PART_NAME, Record, to_table
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.evaluation.counting.record_counter import count_table
from hybrid_batch.evaluation.output.canonical_json import to_json
from hybrid_batch.evaluation.report import build_report
from tests.factories.records import random_records, write_run

RECORDS = random_records(400, ["cat", "dog", "é", "fox"])
BY = ["batch"]


def write_partition(uri: str, seed: int) -> str:
    """Write a run of all records, with sizes of parts and row groups from the seed; returns its URI."""
    write_run(uri, [], 1)
    for index, records in enumerate(_parts(random.Random(seed))):
        file = io.BytesIO()
        pq.write_table(to_table(records), file, row_group_size=50 + index * 37)
        open_storage(uri).write_once(PART_NAME.format(index), file.getvalue())
    return uri


def _parts(order: random.Random) -> Iterator[list[Record]]:
    shuffled = order.sample(RECORDS, len(RECORDS))
    while shuffled:
        size = order.choice([1, order.randint(1, 100), order.randint(100, 400)])
        yield shuffled[:size]
        shuffled = shuffled[size:]


@cache
def expected() -> str:
    """The sha256 of the report of all records, counted as one table."""
    return sha256(to_json(build_report(count_table(to_table(RECORDS), BY))))


def sha256(text: str) -> str:
    """The sha256 of a text, in hexadecimal."""
    return hashlib.sha256(text.strip().encode()).hexdigest()
