"""The totals of a run agree with the evaluation of its log."""

import pytest

from hybrid_batch.data.log.records import STAGES, to_table
from hybrid_batch.evaluation.counting.record_counter import count_table
from hybrid_batch.evaluation.report import build_report
from hybrid_batch.inference.runner.totals import Totals
from tests.factories.records import random_records


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
