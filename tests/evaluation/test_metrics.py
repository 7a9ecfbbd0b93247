import pytest
from made_records import random_records, record
from sklearn.metrics import accuracy_score, confusion_matrix

from data.records import to_table
from evaluation import metrics
from evaluation.counts import count_shard

CLASSES = ["cat", "dog", "eel", "fox", "gnu"]


def test_accuracy_and_confusion_are_scikit_learns() -> None:
    records = random_records(3000, CLASSES)
    judged = [made for made in records if made.error is None and made.label is not None]
    labels, predictions = [made.label for made in judged], [made.prediction for made in judged]
    matrix = metrics.confusion(count_shard(to_table(records)))
    assert metrics.accuracy(matrix) == pytest.approx(accuracy_score(labels, predictions), rel=1e-12)
    dense = [[matrix[label].get(prediction, 0) for prediction in CLASSES] for label in CLASSES]
    assert dense == confusion_matrix(labels, predictions, labels=CLASSES).tolist()


def test_coverage_counts_every_record_once() -> None:
    records = random_records(1000, CLASSES)
    coverage = metrics.coverage(count_shard(to_table(records)))
    assert coverage["records"] == 1000
    assert coverage["errors"] == sum(made.error is not None for made in records)
    assert coverage["unlabelled"] == sum(made.error is None and made.label is None for made in records)


def test_a_cut_has_its_count_its_bytes_and_its_times() -> None:
    times = [100, 200, 150, 150]
    records = [record(head_us=time, image_bytes=1000, sent_bytes=250) for time in times]
    failed = record(prediction=None, error="broken", head_us=9999, sent_bytes=9999)
    cuts = metrics.cuts(count_shard(to_table([*records, failed, record(cut="c002", sent_bytes=2000)])))
    assert set(cuts) == {"c001", "c002"}
    assert cuts["c001"]["records"] == 4
    assert (cuts["c001"]["image_bytes"], cuts["c001"]["sent_bytes"]) == (4000, 1000)
    assert cuts["c001"]["sent_share"] == 0.25
    assert cuts["c001"]["stages"]["head"] == {"mean_us": 150.0, "p50_us": 150.0, "p95_us": 200.0, "p99_us": 200.0}
    assert cuts["c002"]["sent_share"] == 2.0


def test_nothing_known_is_none_not_zero() -> None:
    counts = count_shard(to_table([record(label=None, image_bytes=0)]))
    assert metrics.accuracy(metrics.confusion(counts)) is None
    assert metrics.cuts(counts)["c001"]["sent_share"] is None
    assert metrics.cuts({}) == {}
