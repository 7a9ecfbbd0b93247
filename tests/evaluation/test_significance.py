"""McNemar's test against SciPy's binomial distribution, its error rate by simulation, Holm's correction by hand."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from hybrid_batch.evaluation.statistics.significance import holm_correction, mcnemar_exact_p, mcnemar_mid_p

COUNTS = [(0, 0), (0, 1), (3, 0), (1, 5), (5, 1), (7, 7), (12, 30), (100, 160), (499, 500), (40_000, 40_700)]


@pytest.mark.parametrize(("only_a", "only_b"), COUNTS)
def test_p_values_are_those_of_the_binomial_distribution(only_a: int, only_b: int) -> None:
    trials, fewer = only_a + only_b, min(only_a, only_b)
    exact = binomtest(fewer, trials).pvalue if trials else 1.0
    assert mcnemar_exact_p(only_a, only_b) == pytest.approx(exact, rel=1e-9)
    halved = 2 * binom.cdf(fewer, trials, 0.5) - binom.pmf(fewer, trials, 0.5)
    assert mcnemar_mid_p(only_a, only_b) == pytest.approx(halved, rel=1e-9)


def test_every_small_table_agrees_and_has_no_side() -> None:
    for only_a in range(25):
        for only_b in range(25):
            exact = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
            assert mcnemar_exact_p(only_a, only_b) == pytest.approx(exact, rel=1e-12)
            assert mcnemar_mid_p(only_a, only_b) == mcnemar_mid_p(only_b, only_a)
            assert 0 < mcnemar_mid_p(only_a, only_b) <= mcnemar_exact_p(only_a, only_b) <= 1


def test_millions_of_images_take_no_longer_than_they_must() -> None:
    assert mcnemar_exact_p(40_000_000, 40_000_000) == 1.0
    assert mcnemar_mid_p(1_000_000, 2_000_000) == 0.0
    assert mcnemar_exact_p(5_000_000, 5_004_000) == pytest.approx(binomtest(5_000_000, 10_004_000).pvalue, rel=1e-5)


@pytest.mark.parametrize("disagreement", [0.05, 0.3])
def test_under_the_null_the_mid_p_errs_in_5_percent(disagreement: float) -> None:
    """4,000 pairs of runs over 1,000 images whose classifiers are equally good."""
    random = np.random.default_rng(7)
    trials = random.binomial(1000, disagreement, 4000)
    only_a = random.binomial(trials, 0.5)
    pairs = list(zip(only_a.tolist(), (trials - only_a).tolist(), strict=True))
    assert np.mean([mcnemar_mid_p(*pair) < 0.05 for pair in pairs]) == pytest.approx(0.05, abs=0.015)
    assert np.mean([mcnemar_exact_p(*pair) < 0.05 for pair in pairs]) < 0.05


def test_holm_by_hand() -> None:
    assert holm_correction([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm_correction([0.5, 0.9, 0.4]) == [1.0, 1.0, 1.0]
    assert holm_correction([0.2]) == [0.2]
    assert holm_correction([]) == []
