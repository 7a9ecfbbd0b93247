"""Errors carried from channel to channel: less harm from the same grid, and never far from the values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hybrid_batch.inference.model.cuts import TensorSpec
from hybrid_batch.inference.protocol.codecs import quantised
from hybrid_batch.inference.protocol.codecs.calibrated import keep_grids, read_grids
from hybrid_batch.inference.protocol.codecs.error_feedback import Carry
from hybrid_batch.inference.protocol.codecs.quantised import Grid

FP32 = np.dtype("<f4")
STEPS = np.array([0.1, 0.25, 2.0, 0.5])
LOWS, HIGHS = np.array([-1.0, 0.0, -4.0, 0.0]), np.array([1.0, 5.0, 4.0, 0.0])


def metric_of(channels: int, seed: int = 0) -> np.ndarray:
    """As of a model that hears a few sums of channels."""
    heard = np.random.default_rng(seed).normal(size=(channels, channels // 4 + 1))
    return heard @ heard.T + 0.05 * np.eye(channels)


CARRY = Carry.of(metric_of(4))[0]
GRID = Grid.around(STEPS, LOWS, HIGHS, CARRY)


def sent(tensor: np.ndarray, grid: Grid) -> np.ndarray:
    return quantised.unpack_tuned(quantised.pack_tuned(tensor, grid), tensor.shape, FP32)


@given(hnp.arrays("<f4", st.tuples(st.integers(0, 4), st.integers(0, 5), st.just(4)), elements=st.floats(width=32)))
def test_a_value_is_off_by_at_most_a_step_and_a_half(tensor):
    limit = float(np.finfo(np.float32).max)
    values = np.nan_to_num(tensor.astype(np.float64), posinf=limit, neginf=-limit)
    floors = np.array(GRID.floors)
    reached = np.clip(values, floors * GRID.steps, (floors + GRID.count - 1) * GRID.steps)
    assert (abs(sent(tensor, GRID) - reached) <= 1.5 * GRID.steps * (1 + 1e-6) + 1e-6).all()


def test_the_shares_and_what_remains_are_the_metric():
    metric = metric_of(12)
    carry, harm = Carry.of(metric)
    order = list(carry.order)
    triangle = np.eye(12) + carry.shares
    np.testing.assert_allclose(triangle.T * harm[order] @ triangle, metric[np.ix_(order, order)], atol=0.02)
    assert np.prod(harm) == pytest.approx(np.linalg.det(metric))


@pytest.mark.parametrize("channels", [1, 16, 64])
def test_the_same_grid_does_much_less_harm_where_errors_add_up(channels):
    metric = metric_of(channels)
    values = np.random.default_rng(1).normal(size=(4, 9, 9, channels)).astype(np.float32) * 3
    carry, _ = Carry.of(metric)

    def harm(carried: Carry | None) -> float:
        ends = np.full(channels, 12.0)
        errors = sent(values, Grid.around(np.full(channels, 0.5), -ends, ends, carried)) - values
        return float(np.einsum("...i,ij,...j", errors, metric, errors).mean())

    if channels == 1:
        assert harm(carry) == harm(None)
    else:
        assert harm(carry) < 0.5 * harm(None)


def test_an_image_does_not_depend_on_its_batch():
    tensor = np.random.default_rng(2).normal(size=(5, 7, 3, 4)).astype(np.float32)
    for index, image in enumerate(sent(tensor, GRID)):
        np.testing.assert_array_equal(sent(tensor[index : index + 1], GRID)[0], image)


def test_one_value_out_of_reach_leaves_the_others_near():
    tensor = np.random.default_rng(3).uniform(0.1, 0.9, size=(1, 50, 4)).astype(np.float32)
    tensor[0, 7, CARRY.order[0]] = 3e38
    off = abs(sent(tensor, GRID)[0, 7] - tensor[0, 7]) / GRID.steps
    others = [channel for channel in CARRY.order[1:] if HIGHS[channel] > 0.9]
    assert (off[others] <= 1.5).all()


def test_a_grid_is_kept_with_what_it_carries(tmp_path, monkeypatch):
    monkeypatch.setenv("HYBRID_BATCH_CACHE", str(tmp_path))
    tensor = np.random.default_rng(4).normal(size=(2, 50, 4)).astype(np.float32)
    kept, none = read_grids(
        keep_grids({"a:0": GRID}), [TensorSpec("a:0", (50, 4), "FP32"), TensorSpec("b:0", (), "INT32")]
    )
    assert none is None
    assert quantised.pack_tuned(tensor, kept) == quantised.pack_tuned(tensor, GRID)
    plain = Grid.around(STEPS, LOWS, HIGHS)
    (kept,) = read_grids(keep_grids({"a:0": plain}), [TensorSpec("a:0", (50, 4), "FP32")])
    assert kept == plain
    assert quantised.pack_tuned(tensor, kept) != quantised.pack_tuned(tensor, GRID)


def test_the_harm_expected_is_the_harm_done():
    metric = metric_of(8) + np.eye(8)  # with which nothing near a whole step is carried
    carry, harm = Carry.of(metric)
    steps = 0.1 / np.sqrt(harm)
    values = np.random.default_rng(5).uniform(-40, 40, size=(60, 60, 8)) * steps
    levels = carry.rounding(steps, np.full(8, -64), 128)(values)
    errors = (levels - 64.0) * steps - values
    done = float(np.einsum("...i,ij,...j", errors, metric, errors).mean())
    assert carry.expect(steps, metric) == pytest.approx(done, rel=0.1)
