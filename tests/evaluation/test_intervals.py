"""95 % intervals contain the true value in about 95 % of cases, also at the borders and with few records.

Coverage is exact: the sum of the probabilities of all outcomes whose interval contains the true value. For few records
no method has exactly 95 % everywhere, because outcomes are few; an interval of zero width would have as little as 0 %.
"""

import math
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product

import numpy as np
import pytest

from hybrid_batch.evaluation.statistics.confusion_matrix import STATISTICS, ConfusionMatrix, matrix_statistics
from hybrid_batch.evaluation.statistics.intervals import (
    Z,
    average_interval,
    effective_trials,
    paired_interval,
    wilson_ends,
    wilson_interval,
)
from hybrid_batch.evaluation.statistics.matrix_intervals import matrix_intervals


def binomial(hits: int, trials: int, share: float) -> float:
    return math.comb(trials, hits) * share**hits * (1 - share) ** (trials - hits)


def outcomes(records: int, cells: int) -> Iterator[tuple[int, ...]]:
    """All divisions of records into cells."""
    if cells == 1:
        yield (records,)
        return
    for first in range(records + 1):
        yield from ((first, *rest) for rest in outcomes(records - first, cells - 1))


def multinomial(cells: Sequence[int], shares: Sequence[float]) -> float:
    ways = math.factorial(sum(cells)) / math.prod(map(math.factorial, cells))
    return ways * math.prod(share**count for share, count in zip(shares, cells, strict=True))


def matrix_of(cells: np.ndarray) -> ConfusionMatrix:
    used = np.flatnonzero(cells.sum(0) + cells.sum(1))
    cells = cells[np.ix_(used, used)]
    label, prediction = np.nonzero(cells)
    return ConfusionMatrix([str(number) for number in used], label, prediction, cells[label, prediction])


def values(matrix: ConfusionMatrix) -> dict[str, float]:
    return dict(zip(STATISTICS, matrix_statistics(*matrix.margins()).tolist(), strict=True))


@cache
def estimate(cells: tuple[int, ...]) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """The statistics of a square matrix, row by row, and their intervals."""
    size = math.isqrt(len(cells))
    matrix = matrix_of(np.array(cells).reshape(size, size))
    return values(matrix), matrix_intervals(matrix)


def coverage(matrices: Sequence[tuple[int, ...]], chances: Sequence[float]) -> dict[str, float]:
    """By statistic, the share of sets whose interval contains the statistic's average over all sets."""
    estimates, ends = zip(*map(estimate, matrices), strict=True)
    covered = {}
    for name in STATISTICS:
        known = [place for place, end in enumerate(ends) if math.isfinite(end[name][0])]
        weight = sum(chances[place] for place in known)
        true = sum(chances[place] * estimates[place][name] for place in known) / weight
        covered[name] = (
            sum(chances[p] for p in known if ends[p][name][0] - 1e-12 <= true <= ends[p][name][1] + 1e-12) / weight
        )
    return covered


@pytest.mark.parametrize(("trials", "least"), [(1, 0.79), (2, 0.82), (5, 0.83), (10, 0.85), (30, 0.88), (400, 0.93)])
def test_wilsons_interval_covers(trials: int, least: float) -> None:
    ends = [wilson_ends(hits / trials, trials) for hits in range(trials + 1)]
    covered = [
        sum(binomial(hits, trials, share) for hits, (low, high) in enumerate(ends) if low <= share <= high)
        for share in np.linspace(0.002, 0.998, 250).tolist()
    ]
    assert min(covered) >= least
    assert 0.945 <= np.mean(covered) <= 0.96


def test_wilsons_interval_for_extreme_counts() -> None:
    assert wilson_interval(0, 0) == {"value": None, "low": None, "high": None}
    assert wilson_interval(0, 10)["low"] == 0
    assert wilson_interval(10, 10)["high"] == 1
    assert wilson_interval(10, 10)["low"] == pytest.approx(0.7224672, abs=1e-6)  # Newcombe 1998


@pytest.mark.parametrize("sizes", [(1,) * 6, (1, 1, 6), (1, 3, 12), (2, 4, 8)])
def test_the_interval_of_an_average_covers_with_few_records_in_a_class(sizes: tuple[int, ...]) -> None:
    trials, weights = np.array(sizes, float), np.full(len(sizes), 1 / len(sizes))
    hits = list(product(*(range(size + 1) for size in sizes)))
    ends = [average_interval(np.array(some, float), trials, weights) for some in hits]
    covered = []
    for some_shares in product((0.003, 0.1, 0.5, 0.9, 0.997), repeat=3):
        shares = np.resize(some_shares, len(sizes)).tolist()
        true = sum(shares) / len(sizes)
        covered.append(
            sum(
                math.prod(map(binomial, some, sizes, shares))
                for some, (low, high) in zip(hits, ends, strict=True)
                if low <= true <= high
            )
        )
    assert min(covered) >= 0.89
    assert np.mean(covered) >= 0.95


def test_the_interval_of_an_average_has_the_largest_variance() -> None:
    sizes, weights = np.array([3.0, 10.0, 40.0]), np.full(3, 1 / 3)
    hits = np.array([2.0, 9.0, 38.0])
    low, high = average_interval(hits, sizes, weights)
    value = float((weights * hits / sizes).sum())
    assert low < value < high
    grid = np.linspace(0, 1, 101)
    shares = np.stack(np.meshgrid(grid, grid, grid, indexing="ij"), axis=-1).reshape(-1, 3)
    averages, variances = shares @ weights, (shares * (1 - shares)) @ (weights**2 / sizes)
    within = averages[(averages - value) ** 2 <= Z**2 * variances]
    assert (low, high) == pytest.approx((within.min(), within.max()), abs=0.005)


def test_the_interval_of_an_average_ends_at_its_borders() -> None:
    sizes, weights = np.array([1.0, 5.0, 9.0]), np.full(3, 1 / 3)
    low, high = average_interval(np.zeros(3), sizes, weights)
    assert low == 0
    assert 0.2 < high < 0.5
    assert average_interval(sizes, sizes, weights) == pytest.approx((1 - high, 1))
    assert average_interval(sizes, sizes, np.zeros(3)) == (0, 0)


@pytest.mark.parametrize("classes", [3, 4])
@pytest.mark.parametrize("accuracy", [0.3, 0.555, 0.8, 0.98])
def test_intervals_of_the_matrix_cover_with_one_image_of_each_class(classes: int, accuracy: float) -> None:
    predictions = list(product(range(classes), repeat=classes))
    matrices, chances = [], []
    for prediction in predictions:
        cells = np.zeros((classes, classes), np.int64)
        cells[np.arange(classes), prediction] = 1
        matrices.append(tuple(cells.ravel().tolist()))
        hits = int(np.trace(cells))
        chances.append(accuracy**hits * ((1 - accuracy) / (classes - 1)) ** (classes - hits))
    for name, covered in coverage(matrices, chances).items():
        assert covered >= 0.89, name


@pytest.mark.parametrize(
    "shares",
    [
        (0.49, 0.01, 0.01, 0.49),
        (0.4995, 0.0005, 0.0005, 0.4995),
        (0.4, 0.1, 0.1, 0.4),
        (0.25, 0.25, 0.25, 0.25),
        (0.3, 0.1, 0.3, 0.3),
    ],
)
def test_intervals_of_the_matrix_cover_with_few_records(shares: tuple[float, ...]) -> None:
    cells = list(outcomes(10, 4))
    for name, covered in coverage(cells, [multinomial(some, shares) for some in cells]).items():
        assert 0.93 <= covered <= 0.992, name


def test_intervals_of_many_records_are_as_wide_as_their_sampling_requires() -> None:
    random = np.random.default_rng(2)
    shares = random.dirichlet(np.ones(5), 5) * 0.3 + np.eye(5) * 0.7
    shares *= random.dirichlet(np.full(5, 5))[:, None]
    estimates, widths = [], []
    for _ in range(200):
        matrix = matrix_of(random.multinomial(2000, shares.ravel()).reshape(5, 5))
        estimates.append(list(values(matrix).values()))
        widths.append([high - low for low, high in matrix_intervals(matrix).values()])
    ratio = np.mean(widths, axis=0) / (2 * Z * np.std(estimates, axis=0))  # its standard error is 5 %
    assert ((ratio > 0.8) & (ratio < 1.2)).all(), ratio


def test_equal_class_sizes_have_the_interval_of_the_accuracy() -> None:
    cells = np.array([[6, 1, 1], [0, 8, 0], [3, 0, 5]])
    ends, accuracy = matrix_intervals(matrix_of(cells)), wilson_interval(19, 24)
    for name in ("balanced_accuracy", "recall_macro"):
        assert ends[name] == (accuracy["low"], accuracy["high"])


def test_measures_without_a_value_have_no_interval() -> None:
    ends = matrix_intervals(matrix_of(np.array([[9, 0], [0, 0]])))
    assert np.isnan([ends["cohen_kappa"], ends["matthews"]]).all()
    assert ends["balanced_accuracy"] == wilson_ends(1.0, 9)


def test_a_class_that_was_never_predicted_can_be_predicted_by_further_records() -> None:
    matrix = matrix_of(np.array([[9, 0], [9, 0]]))
    low, high = matrix_intervals(matrix)["precision_macro"]
    assert values(matrix)["precision_macro"] == 0.25
    assert low < 0.2
    assert high > 0.5


def test_effective_trials_shrink_with_the_variance() -> None:
    assert effective_trials(0.5, 100, 25) == pytest.approx(100)
    assert effective_trials(0.5, 10_000, 25 * 50) == pytest.approx(20_000, rel=0.01)
    assert effective_trials(1.0, 100, 0) == 100


@pytest.mark.parametrize("pairs", [1, 5, 12, 30])
def test_tangos_interval_covers(pairs: int) -> None:
    cells = np.array(list(outcomes(pairs, 3)))
    low, high = paired_interval(cells[:, 0], cells[:, 1], np.full(len(cells), pairs))
    for a, b in product((0.0005, 0.01, 0.05, 0.2, 0.4), repeat=2):
        chances = np.array([multinomial(some, (a, b, 1 - a - b)) for some in cells.tolist()])
        assert chances[(low <= b - a) & (b - a <= high)].sum() >= 0.92, (a, b)


def test_tangos_interval_equals_a_published_example() -> None:
    low, high = paired_interval(np.array([7]), np.array([1]), np.array([21]))
    assert (low[0], high[0]) == pytest.approx((-0.517, -0.026), abs=5e-4)  # Fagerland, Lydersen & Laake 2014


def test_tangos_interval_without_a_difference_is_symmetric() -> None:
    low, high = paired_interval(np.array([0, 2]), np.array([0, 2]), np.array([50, 50]))
    assert low == pytest.approx(-high)
    assert high[0] == pytest.approx(Z**2 / (50 + Z**2))
