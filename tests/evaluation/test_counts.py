import json
import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_records import PLAIN, random_records, record

from data.records import SCHEMA, STAGES, Record, to_table
from evaluation.counts import NotRecords, count_shard, from_bytes, merge, to_bytes
from evaluation.latency import bucket
from evaluation.report import build, to_json

WORDS = st.sampled_from(["a", "b", "c\td\n", "é", ""])
RECORDS = st.lists(
    st.builds(
        record,
        label=st.none() | WORDS,
        prediction=st.none() | WORDS,
        cut=st.sampled_from(["c001", "c002", "local"]),
        error=st.none() | st.just("broken"),
        sent_bytes=st.integers(0, 10**12),
        latency_us=st.integers(-100, 10**11),
    )
)


def cell(value_us: int) -> int:
    return int(bucket(np.array([value_us]))[0])


def test_each_record_is_counted_where_it_belongs() -> None:
    counts = count_shard(
        to_table(
            [
                record(),
                record(prediction="b", latency_us=1000),
                record(label=None, cut="c002", sent_bytes=7),
                record(prediction=None, error="cannot identify image file", sent_bytes=0),
                record(prediction=None, sent_bytes=0),
            ]
        )
    )
    assert {key: n for key, n in counts.items() if key[0] not in ("latency", "sum")} == {
        ("errors",): 2,
        ("unlabelled",): 1,
        ("confusion", "a", "a"): 1,
        ("confusion", "a", "b"): 1,
        ("n", "c001"): 2,
        ("n", "c002"): 1,
    }
    assert counts["sum", "c001", "latency_us"] == 1021
    assert counts["sum", "c001", "sent_bytes"] == 200
    assert counts["sum", "c002", "sent_bytes"] == 7
    assert counts["latency", "c001", "latency", cell(21)] == 1
    assert counts["latency", "c001", "latency", cell(1000)] == 1
    assert counts["latency", "c001", "head", cell(2)] == 2
    assert sum(n for key, n in counts.items() if key[0] == "latency") == 3 * len(STAGES)


def test_sums_are_exact_beyond_the_whole_numbers_of_a_float() -> None:
    counts = count_shard(to_table([record(latency_us=2**53), record(latency_us=1)]))
    assert counts["sum", "c001", "latency_us"] == 2**53 + 1


@settings(max_examples=60, deadline=None)
@given(RECORDS, st.randoms(use_true_random=False))
def test_no_partition_or_order_of_the_records_shows(records: list[Record], order: random.Random) -> None:
    whole = count_shard(to_table(records))
    order.shuffle(records)
    borders = sorted(order.randint(0, len(records)) for _ in range(order.randint(0, 6)))
    edges = zip([0, *borders], [*borders, len(records)], strict=True)
    bags = [count_shard(to_table(records[start:end])) for start, end in edges]
    order.shuffle(bags)
    by_two = merge([merge(bags[::2]), from_bytes(to_bytes(merge(bags[1::2])))])
    assert to_bytes(merge(bags)) == to_bytes(by_two) == to_bytes(whole)
    assert to_json(build(merge(bags))) == to_json(build(whole))


def test_row_groups_with_dictionaries_of_their_own_count_as_one_table() -> None:
    records = random_records(90, ["x", "y", "z"])
    chunked = pa.concat_tables([to_table(records[start : start + 30]) for start in (60, 0, 30)])
    assert count_shard(chunked) == count_shard(to_table(records))


def test_plain_strings_and_narrow_integers_count_like_the_schemas_own() -> None:
    table = to_table(random_records(50, ["x", "y"]))
    other = table.set_column(1, "label", table["label"].cast(pa.string()))
    other = other.set_column(8, "batch", table["batch"].cast(pa.int16()))
    other = other.append_column("run", pa.array(["r"] * 50))
    assert count_shard(other) == count_shard(table)


def test_merging_changes_none_of_the_bags() -> None:
    bags = [count_shard(to_table([PLAIN])), count_shard(to_table([PLAIN]))]
    assert merge(bags)["confusion", "a", "a"] == 2
    assert [bag["confusion", "a", "a"] for bag in bags] == [1, 1]


def test_bytes_are_one_line_of_json_whatever_the_labels_hold() -> None:
    counts = count_shard(to_table([record(label='tab\t"line\n', prediction="é\\")]))
    data = to_bytes(counts)
    assert b"\n" not in data
    assert b"\t" not in data
    assert ["confusion", 'tab\t"line\n', "é\\", 1] in json.loads(data)
    assert from_bytes(data) == counts


FOREIGN = {
    "it holds no records: it has no column label, prediction": pa.table({"x": [1]}),
    "it holds no records: ": to_table([PLAIN]).set_column(18, "latency_us", pa.array(["long"])),
    "schema version 2": to_table([PLAIN]).replace_schema_metadata({"hybrid_batch.schema": "2"}),
    "1 of its classified records have no cut": to_table([record(cut=None), PLAIN]),
    "1 of its classified records have no link_us": to_table([record(link_us=None), PLAIN]),
}


@pytest.mark.parametrize("message", FOREIGN)
def test_a_foreign_table_is_refused_with_its_reason(message: str) -> None:
    with pytest.raises(NotRecords, match=message):
        count_shard(FOREIGN[message])


def test_a_table_without_rows_or_chunks_counts_nothing() -> None:
    empty = {("errors",): 0, ("unlabelled",): 0}
    assert count_shard(SCHEMA.empty_table()) == empty
    no_chunks = pa.table([pa.chunked_array([], field.type) for field in SCHEMA], schema=SCHEMA)
    assert count_shard(no_chunks) == empty
