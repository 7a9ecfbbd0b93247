import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_batch.evaluation.counting.encoding.latency_buckets import (
    bucket_edges_us,
    bucket_value_us,
    quantiles_us,
    to_buckets,
)

INT64 = np.iinfo(np.int64)
BOUND = 0.0039
PERMILLES = [500, 900, 950, 990, 999]
RANDOM = np.random.default_rng(0)
HOUR = 3_600_000_000

DISTRIBUTIONS = {
    "constant": np.full(1000, 12_345),
    "one value": np.array([7]),
    "all zero": np.zeros(100, np.int64),
    "two modes": np.concatenate([np.full(950, 1_000), np.full(51, HOUR)]),
    "heavy tail": (RANDOM.pareto(0.5, 20_000) + 1).astype(np.int64),
    "log-uniform 1 µs to 1 h": np.exp(RANDOM.uniform(0, np.log(HOUR), 20_000)).astype(np.int64),
    "log-normal": RANDOM.lognormal(8, 2, 20_000).astype(np.int64),
    "bucket edges": np.concatenate([2 ** np.arange(40) + step for step in (-1, 0, 1)]),
    "some negative": RANDOM.integers(-1000, 1000, 10_000),
}


def quantile(values: np.ndarray, permille: int) -> float:
    (found,) = quantiles_us(*np.unique(to_buckets(values).astype(np.int64), return_counts=True), [permille])
    return found


@given(st.lists(st.integers(INT64.min, INT64.max), min_size=1))
def test_every_value_is_within_the_bound_of_its_buckets_value(values: list[int]) -> None:
    for value, cell in zip(values, to_buckets(np.array(values, np.int64)).tolist(), strict=True):
        assert abs(bucket_value_us(cell) - value) <= BOUND * abs(value)


@given(st.lists(st.integers(INT64.min, INT64.max)))
def test_buckets_preserve_the_order_of_values(values: list[int]) -> None:
    cells = to_buckets(np.array(sorted(values), np.int64))
    assert (np.diff(cells) >= 0).all()


def test_values_below_256_are_exact() -> None:
    values = np.arange(-255, 256)
    assert [bucket_value_us(cell) for cell in to_buckets(values).tolist()] == values.tolist()


@pytest.mark.parametrize("permille", [1, 500, 900, 950, 990, 999, 1000])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_quantiles_are_within_the_bound_of_the_exact_quantiles(name: str, permille: int) -> None:
    values = DISTRIBUTIONS[name].astype(np.int64)
    exact = int(np.sort(values)[-(-len(values) * permille // 1000) - 1])
    assert abs(quantile(values, permille) - exact) <= BOUND * abs(exact)


def test_the_rank_rule_is_numpys_inverted_cdf() -> None:
    values = RANDOM.integers(0, 256, 1001)
    for permille in (250, 500, 750):  # exact in binary, so numpy does not round
        expected = np.quantile(values, permille / 1000, method="inverted_cdf")
        assert quantile(values, permille) == expected


@given(st.integers(-(2**24), 2**24), st.integers(0, 4))  # larger values are rounded to float32 first
def test_every_value_is_between_the_edges_of_its_bucket(value: int, coarser: int) -> None:
    cell = abs(int(to_buckets(np.array([value]))[0])) >> coarser
    low, high = bucket_edges_us(cell, coarser)
    assert low <= abs(value) < high
    assert bucket_edges_us(-cell, coarser) == ((-high, -low) if cell else (0.0, 1.0))


def adversarial(seed: int) -> np.ndarray:
    """Times from 1 µs to 1 h, from another distribution for each seed."""
    random = np.random.default_rng(seed)
    count = int(random.integers(1, 5000))
    scale = np.exp(random.uniform(0, np.log(HOUR / 1000)))
    kinds = [
        lambda: random.pareto(random.uniform(0.3, 2), count) * scale,
        lambda: np.full(count, scale),
        lambda: np.where(random.random(count) < random.choice([0.5, 0.01, 0.001]), scale, scale * 900),
        lambda: np.exp(random.uniform(0, np.log(HOUR), count)),
        lambda: random.lognormal(np.log(scale), random.uniform(0, 4), count),
        lambda: 2.0 ** random.integers(0, 31, count) + random.integers(-1, 2, count),
        lambda: random.integers(1, HOUR, count).astype(float),
        lambda: random.exponential(scale, count),
    ]
    return np.clip(kinds[seed % len(kinds)](), 1, HOUR).astype(np.int64)


@pytest.mark.parametrize("start", range(0, 200, 50))
def test_quantiles_of_200_adversarial_distributions_are_within_the_bound(start: int) -> None:
    for seed in range(start, start + 50):
        values = np.sort(adversarial(seed))
        cells = np.unique(to_buckets(values).astype(np.int64), return_counts=True)
        for permille, found in zip(PERMILLES, quantiles_us(*cells, PERMILLES), strict=True):
            exact = int(values[-(-len(values) * permille // 1000) - 1])
            assert abs(found - exact) <= BOUND * exact, (seed, permille)
