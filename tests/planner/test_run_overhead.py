"""The cost of a run besides decoding and the model, and its effect on plans."""

from dataclasses import replace

import pytest

from hybrid_batch.data.images.images import find_images
from hybrid_batch.inference.model.importing.resolve_model import resolve_model
from hybrid_batch.inference.model.runtimes import open_runtime
from hybrid_batch.inference.planner.plan.plan import PlanRequest, make_plan
from hybrid_batch.inference.planner.profile import run_overhead
from hybrid_batch.inference.planner.profile.piecewise_linear import PiecewiseLinear
from hybrid_batch.inference.planner.profile.run_overhead import measure_run_overhead
from hybrid_batch.inference.planner.profile.sample import take_sample
from hybrid_batch.inference.planner.profile.target import ProfileTarget
from tests.conftest import ROOT
from tests.factories.profiles import chain, profile_of

CHAIN = chain((100, 500))


@pytest.fixture(scope="module")
def target() -> ProfileTarget:
    bundle = resolve_model("digits")
    images = find_images(str(ROOT / "data" / "digits" / "images"))
    return ProfileTarget(bundle, open_runtime("openvino", bundle), None, "", 8, images)


def test_a_run_takes_time_beyond_the_prediction(target):
    sample = take_sample(target.bundle.preprocessing, target.images)
    overhead_us = measure_run_overhead(target, sample, {1: 1.0, 8: 1.0})  # which no machine reaches
    assert overhead_us.keys() == {1, 8}
    assert overhead_us[1] > 0


def test_long_runs_are_not_measured(target, monkeypatch):
    """A batch that takes seconds has the overhead of the next smaller one, which is little in comparison."""
    measured: list[tuple[int, int]] = []

    def record(_target, _sample, batch, count):
        measured.append((batch, count))
        return 30_500.0

    monkeypatch.setattr(run_overhead, "_time_run_us", record)
    sample = take_sample(target.bundle.preprocessing, target.images)
    assert measure_run_overhead(target, sample, {1: 30_000.0, 32: 30_000.0}) == {1: 500.0, 32: 500.0}
    assert measured == [(1, 13)]
    assert measure_run_overhead(target, sample, {1: 1e6}) == {1: 0.0}


def test_the_error_of_a_head_is_stated_as_a_share_of_an_images_time():
    """Half of 20 µs is little where an image takes 200 µs."""
    curve = PiecewiseLinear(((0.0, 0.0), (500.0, 20.0), (1000.0, 20.0)))
    profile = replace(profile_of(20, 10, 1e9), times={32: curve})
    assert profile.interpolation_error == pytest.approx(0.5)
    assert replace(profile, run_us={32: 180.0}).interpolation_error == pytest.approx(0.05)


def test_every_image_costs_the_runs_overhead():
    profile = profile_of(1000, 400, 1e11)
    costly = replace(profile, run_us={1: 4000.0, 8: 2000.0, 32: 1000.0})
    rates = {one.batch: one.rate for one in make_plan(CHAIN, costly, PlanRequest()).candidates if one.cut is None}
    assert rates == {1: pytest.approx(200), 8: pytest.approx(1e6 / 3000), 32: pytest.approx(500)}
    plan = make_plan(CHAIN, costly, PlanRequest())
    (local,) = (one for one in plan.candidates if one.cut is None and one.batch == 8)
    assert local.bottleneck == "run"
    sent = [one for one in plan.candidates if one.cut is not None and one.batch == 32]
    assert all(one.rate <= 1000 for one in sent)
