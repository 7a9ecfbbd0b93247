"""Logs of version 1 and 2, bytes at the cut and on the network, waits, runs, failures and confidences in the report."""

from dataclasses import replace

import pyarrow as pa
import pytest

from hybrid_batch.data.log.records import WAITS, Record, to_table
from hybrid_batch.evaluation.comparison.comparison import build_comparison
from hybrid_batch.evaluation.comparison.run_join import join_and_count, select_columns
from hybrid_batch.evaluation.counting.columns import NotRecords, current_records
from hybrid_batch.evaluation.counting.counts import merge_counts
from hybrid_batch.evaluation.counting.failures import MAX_FAILURES
from hybrid_batch.evaluation.counting.record_counter import count_table
from hybrid_batch.evaluation.output.canonical_json import to_json
from hybrid_batch.evaluation.report import build_report
from hybrid_batch.evaluation.report_schema import LATENCY_PARTS, Report
from tests.factories.records import random_records, record
from tests.factories.version_1 import to_table_1

WAITING = record(
    tail="http://tail", batch_wait_us=40, head_wait_us=30, encode_wait_us=20, send_wait_us=10, latency_us=121
)
LOCAL = record(tail="local", cut_bytes=100, sent_bytes=100, received_bytes=10)


def report(*tables: pa.Table) -> Report:
    return build_report(merge_counts([count_table(table) for table in tables]))


def test_the_waits_and_the_stages_add_up_to_the_latency() -> None:
    overall = report(to_table([WAITING] * 3))["overall"]
    assert sum(overall["stages"][part]["mean_us"] for part in LATENCY_PARTS) == 121
    assert overall["accounted"] == pytest.approx(1)
    assert overall["stages"]["batch_wait"]["p50_us"] == 40


def test_a_log_of_version_1_has_no_waits_and_sends_nothing_to_a_local_tail() -> None:
    built = report(to_table_1([LOCAL] * 3))
    overall = built["overall"]
    assert not set(WAITS) & set(overall["stages"])
    assert overall["accounted"] is None
    assert (overall["cut_bytes"], overall["sent_bytes"], overall["received_bytes"]) == (300, 0, 0)
    assert (overall["cut_share"], overall["sent_share"]) == (0.1, 0)
    assert built["notes"] == [
        "The records have no waiting times (version 1 of the log), so stages do not add up to the latency."
    ]
    assert [(row["run_id"], row["model"], row["cut"], row["records"]) for row in built["runs"]] == [
        (None, None, "c001", 3)
    ]


def test_versions_are_counted_together() -> None:
    tables = [to_table([WAITING] * 3), to_table_1([LOCAL] * 2)]
    built = report(*tables)
    assert built["overall"]["records"] == 5
    assert built["overall"]["accounted"] is None
    assert built["overall"]["stages"]["batch_wait"]["mean_us"] == 40
    by_tail = {entry["value"]: entry for entry in built["slices"]["tail"]}
    assert by_tail["http://tail"]["accounted"] == pytest.approx(1)
    assert (by_tail["http://tail"]["sent_bytes"], by_tail["local"]["sent_bytes"]) == (300, 0)
    assert any(note.startswith("2 of the 5 classified records have no waiting times") for note in built["notes"])
    assert to_json(report(*reversed(tables))) == to_json(built)


def test_versions_are_compared_with_each_other() -> None:
    a, b = (select_columns(table, ["model"]) for table in (to_table_1([LOCAL]), to_table([replace(LOCAL, model="m")])))
    comparison = build_comparison(join_and_count(a, b))
    assert comparison["bytes"]["cut_bytes"] == {"a": 100, "b": 100, "ratio": 1}
    assert comparison["bytes"]["sent_bytes"]["a"] == 0
    assert [entry["value"] for entry in comparison["slices"]["model"]] == ["none → m"]


def test_another_version_and_missing_columns_are_refused() -> None:
    table = to_table([record()])
    with pytest.raises(NotRecords, match="schema version 4, and this hybrid-batch reads versions 1 to 3"):
        current_records(table.replace_schema_metadata({"hybrid_batch.schema": "4"}))
    with pytest.raises(NotRecords, match="it has no column head_wait_us"):
        current_records(table.drop_columns(["head_wait_us"]))
    with pytest.raises(NotRecords, match="it has no column head_us"):
        current_records(to_table_1([record()]).drop_columns(["head_us"]))


def test_columns_of_version_2_are_slices() -> None:
    records = [record(width=640, label_source="csv"), record(width=320, label_source="csv"), record(width=None)]
    for table, widths in ((to_table(records), [None, "320", "640"]), (to_table_1(records), [None])):
        slices = build_report(count_table(table, ["width", "model", "label_source"]))["slices"]
        assert [entry["value"] for entry in slices["width"]] == widths


def test_runs_are_listed_with_their_settings() -> None:
    records = [
        record(run_id="x", model="m", bundle="f" * 64, cut="c002"),
        record(run_id="x", model="m", bundle="f" * 64, cut="c002", prediction="b"),
        record(run_id="x", model="m", bundle="f" * 64, cut="c002", prediction=None, error="unreadable"),
        record(run_id="w", model="n", bundle="e" * 64, label=None),
    ]
    first, second = report(to_table(records))["runs"]
    assert (first["run_id"], first["model"], first["records"], first["labelled"]) == ("w", "n", 1, 0)
    assert second == {
        "run_id": "x",
        "model": "m",
        "bundle": "f" * 64,
        "cut": "c002",
        "codec": "fp32",
        "tail": "local",
        "records": 3,
        "errors": 1,
        "labelled": 2,
        "correct": 1,
        "first_started_at": "2026-01-01T00:00:00+00:00",
        "last_started_at": "2026-01-01T00:00:00+00:00",
    }


def test_failures_are_listed_by_name_up_to_a_limit() -> None:
    def failed(number: int) -> Record:
        return record(image=f"{number:05d}.png", prediction=None, error=None if number == 0 else f"reason {number}")

    records = [failed(number) for number in range(MAX_FAILURES + 50)]
    failures = report(to_table(records[::-2]), to_table(records[::2]), to_table(records[:1]))["failures"]
    assert failures[0] == {"image": "00000.png", "error": None}
    assert [entry["image"] for entry in failures] == [entry.image for entry in records[:MAX_FAILURES]]


def test_confidences_are_counted_without_labels_too() -> None:
    records = [record(label=label, confidence=value) for label, value in (("a", 1.0), (None, 0.5), (None, 0.0))]
    confidence = report(to_table([*records, record(confidence=None), record(prediction=None)]))["confidence"]
    assert (confidence["records"], confidence["mean"]) == (3, 0.5)
    assert [place for place, count in enumerate(confidence["counts"]) if count] == [0, 10, 19]
    assert (confidence["low"][10], confidence["high"][19]) == (0.5, 1)


def test_many_runs_and_cuts_are_told_apart() -> None:
    records = [
        replace(entry, run_id=f"r{n % 700}", cut=f"c{n % 130}", model=f"m{n % 11}")
        for n, entry in enumerate(random_records(2000, ["a", "b"]))
    ]
    built = report(to_table(records))
    keys = {(entry.run_id, entry.model, entry.cut, entry.codec) for entry in records}
    listed = build_report(count_table(to_table(records[:900])))["runs"]
    assert len(built["runs"]) == min(1000, len(keys))
    assert sum(row["records"] for row in listed) == 900
    assert sum(entry["records"] for entry in built["slices"]["cut"]) == 2000
