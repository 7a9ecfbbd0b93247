"""Every measure of the report is the number scikit-learn gives for the same records."""

import warnings
from collections.abc import Iterator

import numpy as np
import pytest
from sklearn import metrics

from hybrid_batch.data.log.records import Record, to_table
from hybrid_batch.evaluation.counting.record_counter import count_table
from hybrid_batch.evaluation.report import build
from hybrid_batch.evaluation.report_schema import HEADLINE, Report
from hybrid_batch.evaluation.statistics.confusion_matrix import matrix
from tests.made_records import random_records, record

CLASSES = ["cat", "dog", "eel", "fox", "gnu", "hen", "ibex"]
CASES = {
    "random": random_records(3000, CLASSES),
    "two classes": random_records(200, ["no", "yes"], seed=1),
    "many classes": random_records(2000, [f"{number:03d}" for number in range(300)], seed=2),
    "mostly right": [
        record(label=CLASSES[number % 7], prediction=CLASSES[(number % 7 + (number % 11 == 0)) % 7])
        for number in range(500)
    ],
    "one never predicted, one never true": [
        *[record(label="a", prediction="b")] * 3,
        *[record(label="b", prediction="b")] * 5,
        *[record(label="b", prediction="c")] * 2,
    ],
}


@pytest.fixture(params=CASES)
def judged(request: pytest.FixtureRequest) -> Iterator[tuple[list[Record], Report]]:
    """The classified records with a label, and the report of all."""
    records = CASES[request.param]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn on classes never predicted
        yield (
            [made for made in records if made.error is None and made.label is not None],
            build(count_table(to_table(records))),
        )


def test_the_headline_is_scikit_learns(judged: tuple[list[Record], Report]) -> None:
    records, report = judged
    labels, predictions = [made.label for made in records], [made.prediction for made in records]
    expected = {
        "accuracy": metrics.accuracy_score(labels, predictions),
        "balanced_accuracy": metrics.balanced_accuracy_score(labels, predictions),
        "cohen_kappa": metrics.cohen_kappa_score(labels, predictions),
        "matthews": metrics.matthews_corrcoef(labels, predictions),
    }
    for average in ("macro", "weighted"):
        found = metrics.precision_recall_fscore_support(labels, predictions, average=average)
        for name, value in zip(("precision", "recall", "f1"), found[:3], strict=True):
            expected[f"{name}_{average}"] = value
    for name, value in expected.items():
        measure = report["headline"][name]
        assert measure["value"] == pytest.approx(value, rel=1e-12, abs=1e-12), name
        assert measure["low"] <= measure["value"] <= measure["high"]


def test_classes_are_scikit_learns(judged: tuple[list[Record], Report]) -> None:
    records, report = judged
    labels, predictions = [made.label for made in records], [made.prediction for made in records]
    names = sorted({*labels, *predictions})
    found = metrics.precision_recall_fscore_support(labels, predictions, labels=names)
    assert [row["name"] for row in report["per_class"]] == names
    for row, *expected, support in zip(report["per_class"], *found, strict=True):
        assert row["support"] == support
        for name, value in zip(("precision", "recall", "f1"), expected, strict=True):
            measure = row[name]
            if measure["value"] is None:  # scikit-learn's 0 for what would divide by 0
                assert value == 0
            else:
                assert measure["value"] == pytest.approx(value, rel=1e-12)
                assert measure["low"] <= measure["value"] <= measure["high"]


def test_the_confusion_matrix_is_scikit_learns(judged: tuple[list[Record], Report]) -> None:
    records, report = judged
    found = report["confusion"]
    dense = np.zeros((len(found["classes"]),) * 2, int)
    dense[found["label"], found["prediction"]] = found["records"]
    labels, predictions = [made.label for made in records], [made.prediction for made in records]
    assert dense.tolist() == metrics.confusion_matrix(labels, predictions, labels=found["classes"]).tolist()
    assert min(found["records"]) > 0
    assert sorted(zip(found["label"], found["prediction"], strict=True)) == list(
        zip(found["label"], found["prediction"], strict=True)
    )


def test_top5_is_scikit_learns() -> None:
    random = np.random.default_rng(0)
    scores = random.dirichlet(np.ones(len(CLASSES)), 500)
    labels = random.integers(0, len(CLASSES), 500)
    order = np.argsort(-scores, axis=1)[:, :5]
    records = [
        record(label=CLASSES[label], prediction=CLASSES[best[0]], top5=tuple((CLASSES[i], float(row[i])) for i in best))
        for label, best, row in zip(labels, order, scores, strict=True)
    ]
    found = build(count_table(to_table(records)))["headline"]["top5_accuracy"]["value"]
    assert found == pytest.approx(metrics.top_k_accuracy_score(labels, scores, k=5), rel=1e-12)


def test_top5_of_differing_lengths_counts_those_that_have_one() -> None:
    tops = [(("a", 0.9),), (("b", 0.5), ("a", 0.4)), (("b", 1.0),), (), None]
    report = build(count_table(to_table([record(top5=top) for top in tops])))
    assert report["headline"]["top5_accuracy"]["value"] == 2 / 4


def test_the_headline_has_every_measure_and_no_other() -> None:
    for records in (CASES["random"], [], [record(label=None)], [record(prediction=None)]):
        headline = build(count_table(to_table(records)))["headline"]
        assert set(headline) == set(HEADLINE)
    assert {measure["value"] for measure in headline.values()} == {None}


def test_one_class_alone_has_no_kappa() -> None:
    headline = build(count_table(to_table([record()] * 9)))["headline"]
    assert headline["cohen_kappa"] == {"value": None, "low": None, "high": None}
    assert headline["accuracy"]["value"] == 1


def test_draws_have_the_margins_of_their_matrix() -> None:
    found = matrix(count_table(to_table(CASES["random"]))["confusion"])
    for whole, drawn in zip(found.margins(), found.margins_of(np.stack([found.records] * 3)), strict=True):
        assert (drawn == whole).all()
