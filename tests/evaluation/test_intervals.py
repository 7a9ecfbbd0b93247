"""95 % intervals hold the truth 95 times in a hundred."""

import numpy as np
import pytest

from hybrid_batch.evaluation.statistics import intervals
from hybrid_batch.evaluation.statistics.confusion_matrix import STATISTICS, Matrix, statistics
from hybrid_batch.evaluation.statistics.intervals import bootstrap, matrix_intervals, wilson

SETS = 1000
COVERED = (0.94, 0.96)  # of 10,000 sets 94.8 to 95.0 %; a thousand have a standard deviation of 0.7 points


def sampled(shares: np.ndarray, count: int, random: np.random.Generator) -> Matrix:
    cells = random.multinomial(count, shares.ravel()).reshape(shares.shape)
    label, prediction = np.nonzero(cells)
    return Matrix([str(number) for number in range(len(shares))], label, prediction, cells[label, prediction])


def confusable(classes: int, random: np.random.Generator) -> np.ndarray:
    shares = random.dirichlet(np.ones(classes), classes) * 0.3 + np.eye(classes) * 0.7
    return shares * random.dirichlet(np.full(classes, 5))[:, None]


def truth(shares: np.ndarray) -> np.ndarray:
    return statistics(np.diag(shares).copy(), shares.sum(1), shares.sum(0))


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_wilsons_interval_covers(share: float) -> None:
    hits = np.random.default_rng(0).binomial(400, share, 4000)
    found = [wilson(int(count), 400) for count in hits]
    assert COVERED[0] <= np.mean([one["low"] <= share <= one["high"] for one in found]) <= COVERED[1]


def test_wilsons_interval_of_extremes() -> None:
    assert wilson(0, 0) == {"value": None, "low": None, "high": None}
    assert wilson(0, 10)["low"] == 0
    assert wilson(10, 10)["high"] == 1
    assert wilson(10, 10)["low"] == pytest.approx(0.7224672, abs=1e-6)  # Newcombe 1998


@pytest.mark.parametrize("method", ["bootstrap", "jackknife"])
def test_intervals_of_the_matrix_cover(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if method == "jackknife":
        monkeypatch.setattr(intervals, "MAX_DRAWS", 0)
    random = np.random.default_rng(11)
    shares = confusable(5, random)
    exact = truth(shares)
    covered = np.zeros(len(STATISTICS))
    for _ in range(SETS):
        how, low, high = matrix_intervals(sampled(shares, 2000, random))
        assert method in how
        covered += (low <= exact) & (exact <= high)
    assert ((covered / SETS >= COVERED[0]) & (covered / SETS <= COVERED[1])).all(), covered / SETS


def test_the_jackknife_is_what_the_bootstrap_tends_to(monkeypatch: pytest.MonkeyPatch) -> None:
    found = sampled(confusable(20, np.random.default_rng(2)), 100_000, np.random.default_rng(3))
    _, *drawn = matrix_intervals(found)
    monkeypatch.setattr(intervals, "MAX_DRAWS", 0)
    _, *slopes = matrix_intervals(found)
    widths = [high - low for low, high in (drawn, slopes)]
    assert widths[0] == pytest.approx(widths[1], rel=0.08)


def test_intervals_are_the_same_every_time() -> None:
    found = sampled(confusable(4, np.random.default_rng(4)), 500, np.random.default_rng(5))
    assert np.array_equal(matrix_intervals(found)[1:], matrix_intervals(found)[1:])


def test_a_bootstrap_passes_over_samples_without_a_value() -> None:
    low, high = bootstrap(np.array([1]), lambda draws: draws / draws)
    assert (low, high) == (1, 1)
    low, high = bootstrap(np.array([1]), lambda draws: draws * np.nan)
    assert np.isnan([low, high]).all()


def test_too_many_classes_have_no_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "MAX_DRAWS", 0)
    monkeypatch.setattr(intervals, "MAX_CLASSES", 3)
    found = sampled(confusable(4, np.random.default_rng(6)), 500, np.random.default_rng(7))
    how, low, high = matrix_intervals(found)
    assert how == "none: more than 3 classes"
    assert np.isnan([low, high]).all()
