"""Every measure of the report equals scikit-learn's for the same records."""

import warnings
from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pytest
from sklearn import metrics

from hybrid_batch.data.log.records import Record, to_table
from hybrid_batch.evaluation.counting.record_counter import count_table
from hybrid_batch.evaluation.report import build_report
from hybrid_batch.evaluation.report_schema import HEADLINE, Report
from tests.factories.records import random_records, record

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
def labelled_and_report(request: pytest.FixtureRequest) -> Iterator[tuple[list[Record], Report]]:
    """The classified records with a label, and the report of all records."""
    records = CASES[request.param]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns about classes that were never predicted
        yield (
            [entry for entry in records if entry.error is None and entry.label is not None],
            build_report(count_table(to_table(records))),
        )


def test_the_headline_equals_scikit_learn(labelled_and_report: tuple[list[Record], Report]) -> None:
    records, report = labelled_and_report
    labels, predictions = [entry.label for entry in records], [entry.prediction for entry in records]
    expected = {
        "accuracy": metrics.accuracy_score(labels, predictions),
        "balanced_accuracy": metrics.balanced_accuracy_score(labels, predictions),
        "cohen_kappa": metrics.cohen_kappa_score(labels, predictions),
        "matthews": metrics.matthews_corrcoef(labels, predictions),
    }
    for average in ("macro", "weighted"):
        reference = metrics.precision_recall_fscore_support(labels, predictions, average=average)
        for name, value in zip(("precision", "recall", "f1"), reference[:3], strict=True):
            expected[f"{name}_{average}"] = value
    for name, value in expected.items():
        measure = report["headline"][name]
        assert measure["value"] == pytest.approx(value, rel=1e-12, abs=1e-12), name
        assert measure["low"] <= measure["value"] <= measure["high"]


def test_the_classes_equal_scikit_learn(labelled_and_report: tuple[list[Record], Report]) -> None:
    records, report = labelled_and_report
    labels, predictions = [entry.label for entry in records], [entry.prediction for entry in records]
    names = sorted({*labels, *predictions})
    reference = metrics.precision_recall_fscore_support(labels, predictions, labels=names)
    assert [row["name"] for row in report["per_class"]] == names
    for row, *expected, support in zip(report["per_class"], *reference, strict=True):
        assert row["support"] == support
        for name, value in zip(("precision", "recall", "f1"), expected, strict=True):
            measure = row[name]
            if measure["value"] is None:  # scikit-learn has 0 for a division by 0
                assert value == 0
            else:
                assert measure["value"] == pytest.approx(value, rel=1e-12)
                assert measure["low"] <= measure["value"] <= measure["high"]


def test_the_confusion_matrix_equals_scikit_learn(labelled_and_report: tuple[list[Record], Report]) -> None:
    records, report = labelled_and_report
    confusion = report["confusion"]
    dense = np.zeros((len(confusion["classes"]),) * 2, int)
    dense[confusion["label"], confusion["prediction"]] = confusion["records"]
    labels, predictions = [entry.label for entry in records], [entry.prediction for entry in records]
    assert dense.tolist() == metrics.confusion_matrix(labels, predictions, labels=confusion["classes"]).tolist()
    assert min(confusion["records"]) > 0
    assert sorted(zip(confusion["label"], confusion["prediction"], strict=True)) == list(
        zip(confusion["label"], confusion["prediction"], strict=True)
    )


def test_top5_accuracy_equals_scikit_learn() -> None:
    random = np.random.default_rng(0)
    scores = random.dirichlet(np.ones(len(CLASSES)), 500)
    labels = random.integers(0, len(CLASSES), 500)
    order = np.argsort(-scores, axis=1)[:, :5]
    records = [
        record(label=CLASSES[label], prediction=CLASSES[best[0]], top5=tuple((CLASSES[i], float(row[i])) for i in best))
        for label, best, row in zip(labels, order, scores, strict=True)
    ]
    accuracy = build_report(count_table(to_table(records)))["headline"]["top5_accuracy"]["value"]
    assert accuracy == pytest.approx(metrics.top_k_accuracy_score(labels, scores, k=5), rel=1e-12)


def test_top5_lists_of_different_lengths_are_counted() -> None:
    tops = [(("a", 0.9),), (("b", 0.5), ("a", 0.4)), (("b", 1.0),), (), None]
    report = build_report(count_table(to_table([record(top5=top) for top in tops])))
    assert report["headline"]["top5_accuracy"]["value"] == 2 / 4


def test_the_headline_has_every_measure_and_no_other() -> None:
    for records in (CASES["random"], [], [record(label=None)], [record(prediction=None)]):
        headline = build_report(count_table(to_table(records)))["headline"]
        assert set(headline) == set(HEADLINE)
    assert {measure["value"] for measure in headline.values()} == {None}


def test_a_single_class_has_no_kappa() -> None:
    headline = build_report(count_table(to_table([record()] * 9)))["headline"]
    assert headline["cohen_kappa"] == {"value": None, "low": None, "high": None}
    assert headline["accuracy"]["value"] == 1


def same_numbers_have_the_same_interval(report: Report) -> None:
    """Two measures with one value and one meaning: averages over equal weights, recall weighted by labels."""
    headline = report["headline"]
    for first, second in combinations(headline.values(), 2):
        if first["value"] is not None and first["value"] == pytest.approx(second["value"], rel=1e-12):
            assert [first["low"], first["high"]] == pytest.approx([second["low"], second["high"]], rel=1e-9)


def test_one_image_of_each_class_has_intervals_around_the_estimates() -> None:
    random = np.random.default_rng(9)
    names = [f"{number:04d}" for number in range(1000)]
    records = [
        record(image=name, label=name, prediction=name if random.random() < 0.555 else names[random.integers(1000)])
        for name in names
    ]
    report = build_report(count_table(to_table(records)))
    for name in HEADLINE[:2] + HEADLINE[3:11]:
        measure = report["headline"][name]
        # A thousand records: at least as wide as the sampling error of the accuracy allows, and not one-sided.
        assert 0.02 < measure["value"] - measure["low"] < 0.05, name
        assert 0.02 < measure["high"] - measure["value"] < 0.05, name
    same_numbers_have_the_same_interval(report)


@pytest.mark.parametrize("wrong", [0, 1, 20])
def test_the_same_number_never_has_two_intervals(wrong: int) -> None:
    rows = [(CLASSES[n % 7], CLASSES[(n + (n < wrong)) % 7]) for n in range(210)]
    report = build_report(count_table(to_table([record(label=label, prediction=best) for label, best in rows])))
    headline = report["headline"]
    assert headline["balanced_accuracy"]["value"] == pytest.approx(headline["accuracy"]["value"])
    for name in ("accuracy", "recall_weighted", "balanced_accuracy", "recall_macro"):
        assert headline[name] == pytest.approx(report["overall"]["accuracy"], rel=1e-12)
    if wrong < 20:
        return
    for name in HEADLINE[3:11]:
        assert headline[name]["low"] < headline[name]["value"] < headline[name]["high"], name


def test_a_perfect_run_has_no_interval_of_zero_width() -> None:
    records = [record(label=name, prediction=name, top5=((name, 1.0),)) for name in CLASSES * 5]
    report = build_report(count_table(to_table(records)))
    for name in HEADLINE[:11]:
        measure = report["headline"][name]
        assert measure["high"] == pytest.approx(1), name
        assert 0.8 < measure["low"] < 0.95, name


def test_the_averages_of_a_single_class_have_its_intervals() -> None:
    report = build_report(count_table(to_table([record()] * 9)))
    (row,) = report["per_class"]
    for name in ("precision", "recall", "f1"):
        for average in ("macro", "weighted"):
            assert report["headline"][f"{name}_{average}"] == row[name]
