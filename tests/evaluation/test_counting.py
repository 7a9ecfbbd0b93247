import random

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_batch.data.log.records import SCHEMA, Record, to_table
from hybrid_batch.evaluation.counting import counts as tallies
from hybrid_batch.evaluation.counting.columns import NotRecords, folders
from hybrid_batch.evaluation.counting.counts import build_counts, decode_counts, encode_counts, merge_counts
from hybrid_batch.evaluation.counting.record_counter import RecordCounter, count_table
from hybrid_batch.evaluation.output.canonical_json import to_json
from hybrid_batch.evaluation.report import build_report
from tests.factories.records import PLAIN, random_records, record

WORDS = st.sampled_from(["a", "b", "c\td\n", "é", ""])
RECORDS = st.lists(
    st.builds(
        record,
        image=st.sampled_from(["1.png", "a/1.png", "a/2.png", "a/b/1.png", "é/1.png"]),
        label=st.none() | WORDS,
        prediction=st.none() | WORDS,
        confidence=st.none() | st.floats(0, 1, width=32),
        top5=st.none() | st.lists(st.tuples(WORDS, st.just(0.1)), max_size=5).map(tuple),
        cut=st.sampled_from(["c001", "c002", "local"]),
        codec=st.sampled_from(["fp32", "int8"]),
        error=st.none() | st.just("broken"),
        sent_bytes=st.integers(0, 10**12),
        latency_us=st.integers(-100, 10**11),
    )
)


def rows(table: pa.Table) -> set[tuple[object, ...]]:
    return {tuple(row.values()) for row in table.to_pylist()}


def report(table: pa.Table, *by: str) -> str:
    return to_json(build_report(count_table(table, by)))


def test_every_record_is_counted_in_its_groups() -> None:
    counts = count_table(
        to_table(
            [
                record(),
                record(prediction="b", latency_us=1000, top5=None),
                record(label=None, cut="c002", cut_bytes=50, sent_bytes=7),
                record(prediction=None, error="cannot identify image file", sent_bytes=0),
                record(label="b", prediction=None, sent_bytes=0),
            ]
        )
    )
    assert rows(counts["confusion"]) == {("a", "a", 1), ("a", "b", 1)}
    slices = rows(counts["slices"])
    # by, value: records, errors, unlabelled, correct, top 5 unknown, correct; bytes: images, cut, sent, received
    assert ("", None, 5, 2, 1, 1, 1, 1, 3000, 250, 207, 30) in slices
    assert ("cut", "c001", 4, 2, 0, 1, 1, 1, 2000, 200, 200, 20) in slices
    assert ("cut", "c002", 1, 0, 1, 0, 0, 0, 1000, 50, 7, 10) in slices
    assert ("label", "a", 3, 1, 0, 1, 1, 1, 2000, 200, 200, 20) in slices
    assert ("label", None, 1, 0, 1, 0, 0, 0, 1000, 50, 7, 10) in slices
    assert ("prediction", None, 2, 2, 0, 0, 0, 0, 0, 0, 0, 0) in slices
    assert ("folder", "a", 5, 2, 1, 1, 1, 1, 3000, 250, 207, 30) in slices
    stages = rows(counts["stages"])
    assert ("cut", "c001", "latency", 1021, 21, 1000) in stages
    assert ("", None, "head", 6, 2, 2) in stages
    assert ("label", "b", "latency", 0, 0, 0) not in stages
    assert not [row for row in stages if row[0] == "label" and row[2] != "latency"]
    assert counts["periods"].to_pylist() == [
        {
            "run_id": "x",
            "shard": 0,
            "minute": 29_453_760,
            "records": 3,
            "first_us": 1767225600_000_000,
            "last_us": 1767225600_000_000 + 1000,
        }
    ]


def test_sums_are_exact_beyond_the_integers_of_a_float() -> None:
    counts = count_table(to_table([record(latency_us=2**53), record(latency_us=1)]))
    assert ("", None, "latency", 2**53 + 1, 1, 2**53) in rows(counts["stages"])


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(RECORDS, st.randoms(use_true_random=False))
def test_the_report_does_not_depend_on_partition_or_order(records: list[Record], order: random.Random) -> None:
    expected = report(to_table(records), "batch")
    order.shuffle(records)
    borders = sorted(order.randint(0, len(records)) for _ in range(order.randint(0, 6)))
    edges = zip([0, *borders], [*borders, len(records)], strict=True)
    parts = [count_table(to_table(records[start:end]), ["batch"]) for start, end in edges]
    order.shuffle(parts)
    by_two = merge_counts([merge_counts(parts[::2]), decode_counts(encode_counts(merge_counts(parts[1::2])))])
    assert to_json(build_report(merge_counts(parts))) == to_json(build_report(by_two)) == expected


def test_batches_with_different_dictionaries_are_counted_as_one_table() -> None:
    records = random_records(90, ["x", "y", "z"])
    chunked = pa.concat_tables([to_table(records[start : start + 30]) for start in (60, 0, 30)])
    assert len(chunked.to_batches()) == 3
    assert report(chunked) == report(to_table(records))


def test_plain_strings_and_narrow_integers_are_counted_like_the_schema_types() -> None:
    table = to_table(random_records(50, ["x", "y"]))
    other = table.set_column(1, "label", table["label"].cast(pa.string()))
    other = other.set_column(table.schema.get_field_index("batch"), "batch", table["batch"].cast(pa.int16()))
    other = other.append_column("run", pa.array(["r"] * 50))
    assert report(other, "batch") == report(table, "batch")


def test_more_classes_than_a_dense_array_holds_are_counted_equally(monkeypatch: pytest.MonkeyPatch) -> None:
    table = to_table(random_records(500, [f"class {number}" for number in range(60)]))
    expected = report(table)
    monkeypatch.setattr("hybrid_batch.evaluation.counting.encoding.sparse_histogram.DENSE_CELLS", 100)
    assert report(table) == expected
    counting = RecordCounter()
    for start in range(0, 500, 7):
        counting.add(table.slice(start, 7).to_batches()[0])
    assert to_json(build_report(merge_counts([counting.counts()]))) == expected


def test_a_merge_does_not_change_its_arguments() -> None:
    parts = [count_table(to_table([PLAIN])), count_table(to_table([PLAIN]))]
    assert rows(merge_counts(parts)["confusion"]) == {("a", "a", 2)}
    assert [rows(counts["confusion"]) for counts in parts] == [{("a", "a", 1)}] * 2


def test_encoded_counts_are_one_line_for_any_label() -> None:
    counts = count_table(to_table([record(label='tab\t"line\n', prediction="é\\")]))
    data = encode_counts(counts)
    assert b"\n" not in data
    assert b"\t" not in data
    assert to_json(build_report(decode_counts(data))) == to_json(build_report(counts))


def test_a_column_with_too_many_values_is_not_sliced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallies, "MAX_VALUES", 30)
    monkeypatch.setattr("hybrid_batch.evaluation.counting.record_counter.MAX_VALUES", 30)
    records = random_records(60, ["x", "y"])
    tables = [to_table(records[start : start + size]) for start, size in ((0, 20), (20, 40))]
    reports = [
        to_json(build_report(merge_counts(parts)))
        for parts in (
            [count_table(to_table(records), ["image"])],
            [count_table(table, ["image"]) for table in tables],
            [count_table(table, ["image"]) for table in reversed(tables)],
            [merge_counts([count_table(table, ["image"])]) for table in tables] + [build_counts()],
            [count_table(to_table(records[start : start + 20]), ["image"]) for start in (0, 20, 40)],  # none alone
        )
    ]
    assert len(set(reports)) == 1
    built = build_report(count_table(to_table(records), ["image"]))
    assert built["slices"]["image"] == []
    assert built["coverage"]["records"] == 60
    assert len(built["slices"]["cut"]) == 3
    assert "No slices by image: it has more than" in built["notes"][-1]


def test_every_column_can_be_sliced_by() -> None:
    built = build_report(count_table(to_table([record(batch=8), record(batch=9), record(batch=8)]), ["batch", "cut"]))
    assert [(entry["value"], entry["records"]) for entry in built["slices"]["batch"]] == [("8", 2), ("9", 1)]


@pytest.mark.parametrize("names", [["x.png"], ["a/1", "a/2"], ["a/b/1", "a/1", "a/b/2"], ["", "é/é/x", "/x"]])
@pytest.mark.parametrize("times", [1, 50, 3000])
def test_a_folder_is_the_text_before_the_last_slash(names: list[str], times: int) -> None:
    runs = [name for name in names for _ in range(times)]
    for images in (runs, names * times):
        encoded = folders(pa.array(["dropped", *images])[1:])
        assert encoded.to_pylist() == [image.rpartition("/")[0] for image in images]


def replaced(name: str, column: pa.Array) -> pa.Table:
    table = to_table([PLAIN])
    return table.set_column(table.schema.get_field_index(name), name, column)


FOREIGN = {
    "it holds no records: it has no column image, label, prediction and 17 more": pa.table({"x": [1]}),
    "it holds no records: Failed to parse": replaced("latency_us", pa.array(["long"])),
    "it holds no records: its column top5 has the type int64": replaced("top5", pa.array([5])),
    "some of its classified records have no link_us": to_table([record(link_us=None), PLAIN]),
    "some of its records have no image": to_table([PLAIN]).set_column(0, "image", pa.array([None], pa.string())),
}


@pytest.mark.parametrize("message", FOREIGN)
def test_a_table_of_another_schema_is_rejected_with_the_reason(message: str) -> None:
    with pytest.raises(NotRecords, match=message):
        count_table(FOREIGN[message])


def test_a_table_without_rows_or_chunks_counts_nothing() -> None:
    no_chunks = pa.table([pa.chunked_array([], field.type) for field in SCHEMA], schema=SCHEMA)
    for empty in (SCHEMA.empty_table(), no_chunks):
        assert all(len(table) == (2 if name == "scores" else 0) for name, table in count_table(empty).items())
    with pytest.raises(NotRecords):
        count_table(pa.table({"x": pa.array([], pa.int64())}))
