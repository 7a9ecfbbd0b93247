"""Error feedback does less harm with the same grid, and its results stay near the values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hybrid_batch.inference.model.cuts import TensorSpec
from hybrid_batch.inference.protocol.codecs import calibrated
from hybrid_batch.inference.protocol.codecs.calibrated import Grid, read_grids, save_grids
from hybrid_batch.inference.protocol.codecs.error_feedback import ErrorFeedback

FP32 = np.dtype("<f4")
STEPS = np.array([0.1, 0.25, 2.0, 0.5])
LOWS, HIGHS = np.array([-1.0, 0.0, -4.0, 0.0]), np.array([1.0, 5.0, 4.0, 0.0])


def metric_of(channels: int, seed: int = 0) -> np.ndarray:
    """The metric of a model that depends on a few sums of channels."""
    sums = np.random.default_rng(seed).normal(size=(channels, channels // 4 + 1))
    return sums @ sums.T + 0.05 * np.eye(channels)


FEEDBACK = ErrorFeedback.from_metric(metric_of(4))[0]
GRID = Grid.covering(STEPS, LOWS, HIGHS, FEEDBACK)


def decoded(tensor: np.ndarray, grid: Grid) -> np.ndarray:
    return calibrated.unpack(calibrated.pack(tensor, grid), tensor.shape, FP32)


@given(hnp.arrays("<f4", st.tuples(st.integers(0, 4), st.integers(0, 5), st.just(4)), elements=st.floats(width=32)))
def test_a_value_is_off_by_at_most_a_step_and_a_half(tensor):
    limit = float(np.finfo(np.float32).max)
    values = np.nan_to_num(tensor.astype(np.float64), posinf=limit, neginf=-limit)
    offsets = np.array(GRID.offsets)
    clipped = np.clip(values, offsets * GRID.scales, (offsets + GRID.count - 1) * GRID.scales)
    assert (abs(decoded(tensor, GRID) - clipped) <= 1.5 * GRID.scales * (1 + 1e-6) + 1e-6).all()


def test_weights_and_harm_factorise_the_metric():
    metric = metric_of(12)
    feedback, harm = ErrorFeedback.from_metric(metric)
    order = list(feedback.order)
    triangle = np.eye(12) + feedback.weights
    np.testing.assert_allclose(triangle.T * harm[order] @ triangle, metric[np.ix_(order, order)], atol=0.02)
    assert np.prod(harm) == pytest.approx(np.linalg.det(metric))


@pytest.mark.parametrize("channels", [1, 16, 64])
def test_feedback_reduces_the_harm_where_errors_add_up(channels):
    metric = metric_of(channels)
    values = np.random.default_rng(1).normal(size=(4, 9, 9, channels)).astype(np.float32) * 3
    feedback, _ = ErrorFeedback.from_metric(metric)

    def harm(used: ErrorFeedback | None) -> float:
        ends = np.full(channels, 12.0)
        errors = decoded(values, Grid.covering(np.full(channels, 0.5), -ends, ends, used)) - values
        return float(np.einsum("...i,ij,...j", errors, metric, errors).mean())

    if channels == 1:
        assert harm(feedback) == harm(None)
    else:
        assert harm(feedback) < 0.5 * harm(None)


def test_an_image_does_not_depend_on_its_batch():
    tensor = np.random.default_rng(2).normal(size=(5, 7, 3, 4)).astype(np.float32)
    for index, image in enumerate(decoded(tensor, GRID)):
        np.testing.assert_array_equal(decoded(tensor[index : index + 1], GRID)[0], image)


def test_a_value_beyond_the_grid_does_not_shift_the_others():
    tensor = np.random.default_rng(3).uniform(0.1, 0.9, size=(1, 50, 4)).astype(np.float32)
    tensor[0, 7, FEEDBACK.order[0]] = 3e38
    off = abs(decoded(tensor, GRID)[0, 7] - tensor[0, 7]) / GRID.scales
    others = [channel for channel in FEEDBACK.order[1:] if HIGHS[channel] > 0.9]
    assert (off[others] <= 1.5).all()


def test_a_grid_is_cached_with_its_feedback(tmp_path, monkeypatch):
    monkeypatch.setenv("HYBRID_BATCH_CACHE", str(tmp_path))
    tensor = np.random.default_rng(4).normal(size=(2, 50, 4)).astype(np.float32)
    cached, none = read_grids(
        save_grids({"a:0": GRID}), [TensorSpec("a:0", (50, 4), "FP32"), TensorSpec("b:0", (), "INT32")]
    )
    assert none is None
    assert calibrated.pack(tensor, cached) == calibrated.pack(tensor, GRID)
    plain = Grid.covering(STEPS, LOWS, HIGHS)
    (cached,) = read_grids(save_grids({"a:0": plain}), [TensorSpec("a:0", (50, 4), "FP32")])
    assert cached == plain
    assert calibrated.pack(tensor, cached) != calibrated.pack(tensor, GRID)


def test_the_expected_harm_is_the_measured_harm():
    metric = metric_of(8) + np.eye(8)  # with this metric the feedback is small against a step
    feedback, harm = ErrorFeedback.from_metric(metric)
    steps = 0.1 / np.sqrt(harm)
    values = np.random.default_rng(5).uniform(-40, 40, size=(60, 60, 8)) * steps
    levels = feedback.quantiser(steps, np.full(8, -64), 128)(values)
    errors = (levels - 64.0) * steps - values
    measured = float(np.einsum("...i,ij,...j", errors, metric, errors).mean())
    assert feedback.expected_harm(steps, metric) == pytest.approx(measured, rel=0.1)
