import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.latency import bucket, quantile_us, value_us

INT64 = np.iinfo(np.int64)
BOUND = 0.0039
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


def histogram(values: np.ndarray) -> dict[int, int]:
    cells, counts = np.unique(bucket(values), return_counts=True)
    return dict(zip(cells.tolist(), counts.tolist(), strict=True))


@given(st.lists(st.integers(INT64.min, INT64.max), min_size=1))
def test_every_value_is_within_the_bound_of_what_stands_for_its_bucket(values: list[int]) -> None:
    for value, cell in zip(values, bucket(np.array(values, np.int64)).tolist(), strict=True):
        assert abs(value_us(cell) - value) <= BOUND * abs(value)


@given(st.lists(st.integers(INT64.min, INT64.max)))
def test_buckets_keep_the_order_of_values(values: list[int]) -> None:
    cells = bucket(np.array(sorted(values), np.int64))
    assert (np.diff(cells) >= 0).all()


def test_values_below_256_come_back_exact() -> None:
    values = np.arange(-255, 256)
    assert [value_us(cell) for cell in bucket(values).tolist()] == values.tolist()


@pytest.mark.parametrize("permille", [1, 500, 900, 950, 990, 999, 1000])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_quantiles_are_within_the_bound_of_the_exact_ones(name: str, permille: int) -> None:
    values = DISTRIBUTIONS[name].astype(np.int64)
    exact = int(np.sort(values)[-(-len(values) * permille // 1000) - 1])
    assert abs(quantile_us(histogram(values), permille) - exact) <= BOUND * abs(exact)


def test_the_rank_rule_is_numpys_inverted_cdf() -> None:
    values = RANDOM.integers(0, 256, 1001)
    for permille in (250, 500, 750):  # exact in binary, so numpy has no rounding of its own
        expected = np.quantile(values, permille / 1000, method="inverted_cdf")
        assert quantile_us(histogram(values), permille) == expected


def test_an_empty_histogram_has_no_quantile() -> None:
    with pytest.raises(ValueError, match="no quantile"):
        quantile_us({}, 500)
