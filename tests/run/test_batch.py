import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from hybrid_batch.data.images.decode import Preprocessing
from hybrid_batch.data.images.images import IMAGES_SCHEMA
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import TensorSpec
from hybrid_batch.inference.model.scores import to_scores
from hybrid_batch.inference.runner.batch import NOT_FINITE, Batch, ModelOutput, Provenance, to_records
from hybrid_batch.inference.runner.routing import FixedRouter, plan_batches
from hybrid_batch.inference.runner.split import LocalSplit

MADE = Provenance("x", "folder", "c001", "fp16", "local")


def bundle_of(classes: int, kind: str = "probabilities") -> Bundle:
    outputs = 1 if classes == 2 else classes
    return Bundle(
        path=Path(),
        name="made",
        source="",
        sha256="",
        input=TensorSpec("image:0", (2, 2, 1), "FP32"),
        output=TensorSpec("scores:0", (outputs,), "FP32"),
        preprocessing=Preprocessing(2, 2, "grey"),
        labels=tuple("abcdefghij"[:classes]),
        output_kind=kind,
        cuts=(),
    )


def batch_of(count: int) -> Batch:
    return Batch(
        shard=0,
        images=[f"{i}.png" for i in range(count)],
        labels=["a"] * count,
        image_bytes=[100 + i for i in range(count)],
        ends_shard=True,
        started_ns=[1_000_000] * count,
        done_ns=9_000_000,
    )


def test_batches_cover_every_image_once_and_never_cross_a_shard():
    images = pa.table([[str(i) for i in range(11)], [None] * 11, list(range(11))], schema=IMAGES_SCHEMA)
    shards = [(0, range(5)), (2, range(10, 11))]
    batches = list(plan_batches(images, shards, FixedRouter(LocalSplit(), 2), bundle_of(3)))
    assert [(b.shard, list(b.images), b.ends_shard) for b in batches] == [
        (0, ["0", "1"], False),
        (0, ["2", "3"], False),
        (0, ["4"], True),
        (2, ["10"], True),
    ]
    assert batches[1].image_bytes == [2, 3]


def test_large_files_make_smaller_batches_and_a_file_above_the_limit_its_own():
    sizes = [20 << 20, 10 << 20, 10 << 20, 90 << 20, 1, 1]
    images = pa.table([list("abcdef"), [None] * 6, sizes], schema=IMAGES_SCHEMA)
    batches = list(plan_batches(images, [(0, range(6))], FixedRouter(LocalSplit(), 4), bundle_of(3)))
    assert ["".join(batch.images) for batch in batches] == ["ab", "c", "d", "ef"]
    assert [batch.ends_shard for batch in batches] == [False, False, False, True]


def test_logits_become_probabilities_without_overflow():
    scores = to_scores(bundle_of(3, "logits"), np.float32([[1000, 1000, -1000], [0, 0, 0]]))
    assert scores == pytest.approx(np.float32([[0.5, 0.5, 0], [1 / 3, 1 / 3, 1 / 3]]))


def test_one_output_is_the_probability_of_the_second_class():
    assert to_scores(bundle_of(2), np.float32([[0.25]])) == pytest.approx(np.float32([[0.75, 0.25]]))
    assert to_scores(bundle_of(2, "logits"), np.float32([[0]])) == pytest.approx(np.float32([[0.5, 0.5]]))


def test_records_keep_order_around_images_with_errors():
    batch = replace(
        batch_of(3), errors={1: "broken"}, payload=ModelOutput(np.float32([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3]]))
    )
    records = to_records(batch, bundle_of(3), MADE)
    assert [record.prediction for record in records] == ["b", None, "a"]
    assert [record.error for record in records] == [None, "broken", None]
    assert [record.image_bytes for record in records] == [100, 101, 102]
    assert records[0].top5 == (("b", pytest.approx(0.7)), ("c", pytest.approx(0.2)), ("a", pytest.approx(0.1)))
    assert records[0].confidence == pytest.approx(0.7)
    assert records[1].confidence is None
    assert records[1].top5 is None
    assert {record.latency_us for record in records} == {8000}
    assert {record.batch for record in records} == {3}


def test_clock_readings_become_the_time_of_day():
    before = datetime.now(UTC)
    batch = replace(
        batch_of(1), started_ns=[time.perf_counter_ns()], payload=ModelOutput(np.float32([[0.1, 0.7, 0.2]]))
    )
    (record,) = to_records(batch, bundle_of(3), MADE)
    minute = timedelta(minutes=1)  # the clock may be adjusted meanwhile
    assert before - minute < record.started_at < datetime.now(UTC) + minute


def test_bytes_are_divided_exactly_among_the_images_that_were_sent():
    batch = replace(
        batch_of(4),
        errors={0: "broken"},
        payload=ModelOutput(np.eye(3, dtype=np.float32)),
        sent_bytes=1001,
        received_bytes=7,
    )
    records = to_records(batch, bundle_of(3), MADE)
    assert [record.sent_bytes for record in records] == [0, 334, 334, 333]
    assert [record.received_bytes for record in records] == [0, 3, 2, 2]


def test_equal_scores_predict_the_first_class():
    records = to_records(replace(batch_of(1), payload=ModelOutput(np.float32([[0.2, 0.4, 0.4]]))), bundle_of(3), MADE)
    assert records[0].prediction == "b"


def test_a_score_that_is_not_finite_is_an_error_of_its_image_only():
    output = ModelOutput(np.float32([[np.nan, 0, 0], [0, 1, 0]]))
    records = to_records(replace(batch_of(2), payload=output), bundle_of(3), MADE)
    assert [record.prediction for record in records] == [None, "b"]
    assert [record.error for record in records] == [NOT_FINITE, None]


def test_a_batch_with_only_errors_is_recorded():
    records = to_records(replace(batch_of(2), errors={0: "x", 1: "y"}), bundle_of(3), MADE)
    assert [record.error for record in records] == ["x", "y"]
