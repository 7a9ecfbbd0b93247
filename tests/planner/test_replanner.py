"""The present plan of an adaptive run, and the lookup of its candidates."""

from functools import partial

import pytest

from hybrid_batch.inference.planner.adapt.replanner import Predictions, Replanner
from hybrid_batch.inference.planner.plan.cost_model import Conditions
from hybrid_batch.inference.planner.plan.plan import Plan, PlanRequest, make_plan
from hybrid_batch.inference.planner.plan.prices import read_prices
from hybrid_batch.inference.planner.profile.profile import Link
from hybrid_batch.inference.runner.batch import Batch
from hybrid_batch.inference.runner.split import CutSplit, LocalSplit, Split
from tests.factories.profiles import chain, profile_of

NARROW = chain((800, 200), (100, 500))
PROFILE = profile_of(1000, 400, 5e6)  # at batch sizes 1, 8 and 32
PLAN_FOR = partial(make_plan, NARROW, PROFILE, PlanRequest(), read_prices())


def batch_of(images: int, split: Split) -> Batch:
    return Batch(0, ["a.png"] * images, [None] * images, [100] * images, ends_shard=False, split=split)


@pytest.mark.parametrize(("images", "size"), [(1, 1), (2, 8), (8, 8), (9, 32), (32, 32), (50, 32)])
def test_a_batch_has_the_prediction_of_the_smallest_size_that_holds_it(images, size):
    predictions = Predictions(PLAN_FOR(None).candidates)
    split = CutSplit(NARROW.cut("c002"), "fp16")
    remote, local = (predictions.of_batch(batch_of(images, one)) for one in (split, LocalSplit()))
    assert (remote.split, remote.batch) == (split, size)
    assert local == predictions.local(size)
    assert local.cut is None


def test_a_plan_is_made_only_for_other_conditions():
    planned: list[Conditions] = []

    def plan(conditions: Conditions) -> Plan:
        planned.append(conditions)
        return PLAN_FOR(conditions)

    fast, slow = Conditions(PROFILE.tail.link), Conditions(Link(1000, 0))
    replanner = Replanner(plan, fast)
    first = replanner.plan.chosen
    replanner.update(slow)
    replanner.update(Conditions(Link(1000, 0)))
    assert planned == [fast, slow]
    assert first.cut is not None
    assert replanner.plan.chosen.cut is None
    assert replanner.predictions.matching(first).split == first.split
    assert replanner.predictions.matching(first).rate < first.rate
