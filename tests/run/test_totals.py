"""The totals of a run agree with the evaluation of its log."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from hybrid_batch.data.log.records import STAGES, to_table
from hybrid_batch.data.log.schema_versions import upgrade
from hybrid_batch.evaluation.counting.record_counter import count_table
from hybrid_batch.evaluation.report import build_report
from hybrid_batch.inference.runner.totals import Totals
from tests.factories.records import PLAIN, random_records
from tests.factories.version_1 import to_table_1


def test_totals_and_evaluation_agree():
    table = to_table(random_records(500, "abcdef"))
    totals = Totals()
    for start in range(0, 500, 128):
        totals.add(table.slice(start, 128))
    evaluated = build_report(count_table(table))["overall"]
    assert (totals.images, totals.errors, totals.labelled) == (
        evaluated["records"],
        evaluated["errors"],
        evaluated["labelled"],
    )
    assert totals.errors > 0
    assert totals.accuracy == evaluated["accuracy"]["value"]
    classified = totals.images - totals.errors
    for stage in STAGES:
        assert totals.stages_us[stage] / classified == pytest.approx(evaluated["stages"][stage]["mean_us"], rel=1e-12)
    assert (totals.image_bytes, totals.sent_bytes) == (evaluated["image_bytes"], evaluated["sent_bytes"])


def test_pauses_between_an_interruption_and_its_continuation_are_left_out():
    start = datetime(2026, 1, 1, tzinfo=UTC)
    totals = Totals()
    for second in (3600, 0, 1, 3601):  # two sessions of shards that overlap, an hour apart
        record = replace(PLAIN, started_at=start + timedelta(seconds=second), latency_us=1_500_000)
        totals.add(to_table([record]))
    assert totals.active_s == 5.0
    assert len(totals.active_us) == 2


def test_the_active_time_is_that_of_the_evaluation():
    start = datetime(2026, 1, 1, tzinfo=UTC)
    records = [
        replace(PLAIN, started_at=start, prediction=None, error="no image", latency_us=9_000_000),
        replace(PLAIN, started_at=start + timedelta(seconds=2), latency_us=1_000_000),
        replace(PLAIN, started_at=start + timedelta(seconds=3), latency_us=2_000_000),
    ]
    totals = Totals()
    totals.add(to_table(records))
    throughput = build_report(count_table(to_table(records)))["throughput"]
    assert totals.active_s == throughput["active_s"] == 3.0
    assert (totals.images - totals.errors) / totals.active_s == throughput["images_per_s"]


def test_a_run_with_parts_of_version_1_has_no_waits():
    totals = Totals()
    for records in (to_table([PLAIN]), upgrade(to_table_1([PLAIN])), to_table([PLAIN])):
        totals.add(records)
    assert totals.waits_us == {}
    assert totals.stages_us["latency"] == 3 * PLAIN.latency_us


def test_many_reasons_of_errors_are_kept_as_few():
    totals = Totals()
    totals.add(to_table([replace(PLAIN, prediction=None, error=f"byte {number}") for number in range(100)]))
    assert sum(totals.error_reasons.values()) == 100
    assert len(totals.error_reasons) == 21
