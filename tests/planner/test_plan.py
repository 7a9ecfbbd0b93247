"""The cost model and the plans, on bundles and profiles with given numbers."""

import json
import sys
from dataclasses import replace

import pytest

from hybrid_batch.data.errors import CutNotFound, WrongUsage
from hybrid_batch.inference.planner.plan.cost_model import Conditions, CostModel
from hybrid_batch.inference.planner.plan.explanation import describe_change
from hybrid_batch.inference.planner.plan.plan import PlanRequest, make_plan
from hybrid_batch.inference.planner.plan.prices import read_prices
from hybrid_batch.inference.planner.profile.piecewise_linear import PiecewiseLinear
from hybrid_batch.inference.planner.profile.profile import Link, Profile
from tests.factories.profiles import chain, profile_of, without_tail

MBIT = 1e6
NARROW = chain((800, 200), (100, 500), (50, 900))


def candidate(bundle, profile, cut, codec="fp16", batch=32, **options):
    model = CostModel(bundle, profile, read_prices(), options.get("in_flight", 4))
    found = model.list_candidates(("fp16", "int8"))
    (one,) = [c for c in found if (c.split.name, c.codec, c.batch) == (cut, codec, batch)]
    return one


def test_a_curve_is_straight_between_points_and_flat_beyond_them():
    curve = PiecewiseLinear.from_points([(10, 100), (0, 0), (20, 120)])
    assert [curve.at(work) for work in (-1, 0, 5, 10, 15, 20, 99)] == [0, 0, 50, 100, 110, 120, 120]
    assert curve.error == pytest.approx(40 / 120)  # the neighbours' line has 60 in the middle


def test_measured_times_never_fall_as_work_grows():
    assert PiecewiseLinear.from_points([(0, 0), (10, 100), (20, 90)]).points == ((0, 0), (10, 100), (20, 100))


def test_throughput_is_that_of_the_slowest_stage_and_latency_the_sum():
    # 200 bytes and a 32nd of a frame's 450: 8 µs per byte at 1 Mbit/s.
    one = candidate(NARROW, profile_of(1000, 400, 1 * MBIT), "c002")
    assert one.times.head_us == 500
    assert one.times.tail_us == 200
    assert one.sent_bytes == pytest.approx(200 + 450 / 32)
    assert one.rate == pytest.approx(1e6 / (8 * one.sent_bytes))
    assert one.bottleneck == "link"
    assert one.latency_us == pytest.approx(32 * (500 + 200 + 8 * (one.sent_bytes + one.received_bytes)))
    assert candidate(NARROW, profile_of(1e6, 400, 1 * MBIT), "c002").bottleneck == "head"
    assert candidate(NARROW, profile_of(1000, 1e6, 1 * MBIT), "c002").bottleneck == "tail"


def test_the_bottleneck_is_the_longest_stage_on_this_machine():
    profile = profile_of(1000, 400, 1000 * MBIT)
    images = replace(profile.images, decode_us=profile.device.cores * 1200)
    assert candidate(NARROW, replace(profile, images=images), "c002").bottleneck == "decode"
    slow = {name: replace(cost, encode_us=100) for name, cost in profile.codecs.items()}
    assert candidate(NARROW, replace(profile, codecs=slow), "c002").bottleneck == "encode"
    for tail_us, bottleneck in ((400, "head"), (4000, "tail")):
        near = replace(profile_of(1000, tail_us, 1000 * MBIT).tail, shares_cores=True)
        assert candidate(NARROW, replace(profile, tail=near), "c002").bottleneck == bottleneck
    local = make_plan(NARROW, replace(profile, tail=None, images=images), PlanRequest()).chosen
    assert (local.cut, local.bottleneck, local.times.decode_us) == (None, "decode", images.decode_us)


def test_requests_in_flight_hide_the_round_trip_only_if_there_are_enough():
    profile = profile_of(10, 10, 1000 * MBIT, round_trip_us=100_000)
    one = candidate(NARROW, profile, "c002", batch=1, in_flight=4)
    assert one.rate == pytest.approx(4 / 0.1, rel=0.01)
    assert candidate(NARROW, profile, "c002", batch=1, in_flight=8).rate == pytest.approx(8 / 0.1, rel=0.01)


def test_overheads_per_request_make_larger_batches_better():
    profile = profile_of(1000, 400, 1000 * MBIT)
    costly = replace(profile, tail=replace(profile.tail, client_overhead_us=1000, server_overhead_us=1600))
    small, large = (candidate(NARROW, costly, "c002", batch=batch) for batch in (1, 8))
    assert (small.bottleneck, small.rate) == ("tail", pytest.approx(1e6 / 1800))
    assert (large.bottleneck, large.rate) == ("head", pytest.approx(1e6 / 625))
    assert make_plan(NARROW, costly, PlanRequest()).chosen.batch > 1


def test_among_equal_plans_latency_takes_the_smallest_batch_and_throughput_a_batch_of_eight():
    profile = profile_of(1000, 400, 1e5 * MBIT)
    assert make_plan(NARROW, profile, PlanRequest()).chosen.batch == 8
    assert make_plan(NARROW, profile, PlanRequest("latency")).chosen.batch == 1


def test_throughput_takes_the_largest_of_small_batches():
    """As `--batch-size 4` allows."""
    profile = profile_of(1000, 400, 1e5 * MBIT)
    times = {1: profile.times[1], 4: profile.times[1]}
    small = replace(profile, times=times, tail=replace(profile.tail, times=times))
    assert make_plan(NARROW, small, PlanRequest()).chosen.batch == 4
    assert make_plan(NARROW, without_tail(small), PlanRequest()).chosen.batch == 4


def test_the_share_fills_both_ends():
    """This machine takes 1000 µs for a whole image; a sent one takes 500 µs here and 1000 µs in the tail: 2/3 are
    sent."""
    bundle = chain((1, 500))
    one = candidate(bundle, profile_of(1000, 2000, 1e5 * MBIT), "c001")
    assert one.times.tail_us == 1000
    assert one.offload_share == pytest.approx(2 / 3)
    assert one.shared_rate == pytest.approx(1500)
    busy_us = one.offload_share * one.times.head_us + (1 - one.offload_share) * 1000
    assert busy_us == pytest.approx(1e6 / one.shared_rate)
    assert one.offload_share * one.times.tail_us == pytest.approx(1e6 / one.shared_rate)


def test_a_codec_has_a_fixed_cost_per_frame():
    """As entropy coding has: nearly all of the cost for few elements."""
    profile = profile_of(1000, 400, 1e5 * MBIT)
    cost = replace(profile.codecs["fp16"], encode_us=1, decode_us=2, encode_frame_us=1600, decode_frame_us=800)
    costly = replace(profile, codecs=profile.codecs | {"fp16": cost})
    for batch, encode_us, tail_us in ((1, 100 + 1600, 200 + 200 + 800), (8, 100 + 200, 200 + 200 + 100)):
        one = candidate(NARROW, costly, "c002", batch=batch)
        assert (one.times.encode_us, one.times.tail_us) == (encode_us, tail_us)
    assert Profile.from_json(json.dumps(costly.to_dict())) == costly


def test_a_single_thread_encodes_whatever_the_number_of_cores():
    profile = profile_of(1000, 10, 1e5 * MBIT)
    cost = replace(profile.codecs["fp16"], encode_us=30)
    many = replace(profile, device=replace(profile.device, cores=8), codecs=profile.codecs | {"fp16": cost})
    one = candidate(NARROW, many, "c002")
    assert (one.bottleneck, one.rate, one.remote_us) == ("encode", pytest.approx(1e6 / 3000), 3000)
    assert one.offload_share == pytest.approx(1000 / (3000 + 1000 - (500 + 3000 / 8)))


def test_all_cores_decode_the_images_that_are_not_sent():
    profile = profile_of(1000, 400, 1e5 * MBIT)
    device, images = replace(profile.device, cores=4), replace(profile.images, decode_us=800)
    one = candidate(NARROW, replace(profile, device=device, images=images), "local", codec="none")
    assert (one.times.head_us, one.times.decode_us) == (1000, 800)
    assert one.rate == one.shared_rate == pytest.approx(1e6 / (1000 + 200))
    assert one.latency_us == 32 * (1000 + 800)


def test_uploading_adds_the_rates_of_both_ends():
    one = candidate(NARROW, profile_of(1000, 1000, 1e6 * MBIT), "c000", codec="image")
    assert one.shared_rate == pytest.approx(2000)


def test_a_fast_tail_behind_a_fast_link_takes_all_images():
    plan = make_plan(NARROW, profile_of(10_000, 10, 1e5 * MBIT), PlanRequest())
    assert plan.chosen.offload_share == pytest.approx(1, abs=0.01)
    assert plan.chosen.cut is not None


def test_a_slow_link_means_run_locally_for_that_reason():
    plan = make_plan(NARROW, profile_of(1000, 1000, 0.001 * MBIT), PlanRequest())
    assert plan.chosen.cut is None
    assert plan.reason.startswith("for throughput, run locally: ")
    assert "0.001 Mbit/s" in plan.reason


def test_a_gain_within_the_measurement_error_is_reported_as_such():
    plans = [
        make_plan(NARROW, profile_of(1000, 10, 1.01**step * MBIT), PlanRequest("latency")) for step in range(-300, 300)
    ]
    close = [plan for plan in plans if plan.chosen.cut is None and plan.best_remote.latency_us < plan.chosen.latency_us]
    assert close
    assert all(plan.reason.endswith(" ms per image, a gain within the measurement error.") for plan in close)


def test_the_reason_compares_with_image_files_and_states_the_objective_and_the_bytes():
    profile = profile_of(50_000, 20_000, 1000 * MBIT, image_bytes=1600)
    for objective in ("throughput", "latency"):
        plan = make_plan(chain((400, 500)), profile, PlanRequest(objective, codecs=("fp16",), max_sent_bytes=1300))
        assert (plan.chosen.split.name, plan.objective) == ("c001", objective)
        assert plan.reason.startswith(f"for {objective} over a link of 1,000 Mbit/s, c001 layer1 with codec fp16")
        assert "800 bytes per image sent (0.5 x the sampled files')" in plan.reason
        assert "; all local: " in plan.reason
        assert "; image files as stored: " not in plan.reason
    slow = profile_of(50_000, 20_000, 1 * MBIT, image_bytes=1600)
    plan = make_plan(chain((400, 50)), slow, PlanRequest("latency", codecs=("fp16",)))
    assert (plan.chosen.split.name, "; image files as stored: " in plan.reason) == ("c001", True)


def test_tensors_larger_than_the_files_are_not_sent_instead_of_these():
    """Even where the tail decodes files slowly, so that decoded pixels would be faster."""
    profile = profile_of(50_000, 100, 1000 * MBIT, image_bytes=1000)
    slow = replace(profile, tail=replace(profile.tail, image_decode_us=2000))
    for objective in ("throughput", "latency"):
        plan = make_plan(chain((900, 500)), slow, PlanRequest(objective, codecs=("fp32",)))
        assert {one.codec for one in plan.allowed} == {"none", "image"}
        assert plan.chosen.codec == "image"
    kept = make_plan(chain((900, 500)), slow, PlanRequest(codecs=("fp32",), earliest_cut="c001"))
    assert kept.chosen.codec == "fp32"
    least = make_plan(chain((900, 500)), slow, PlanRequest("cloud-seconds", codecs=("fp32",), min_rate=1e-3))
    assert "fp32" in {one.codec for one in least.allowed}


def test_of_equally_good_plans_the_one_that_sends_the_least_is_chosen():
    """Files are a quarter of the decoded pixels."""
    plan = make_plan(
        chain(), profile_of(50_000, 100, 1e5 * MBIT, image_bytes=1000), PlanRequest("latency", codecs=("fp32",))
    )
    assert plan.chosen.codec == "image"


def test_an_earliest_cut_excludes_the_image_files_and_the_reason_says_so():
    plan = make_plan(NARROW, profile_of(50_000, 10, 1000 * MBIT), PlanRequest("latency", earliest_cut="c001"))
    assert plan.chosen.cut is not None
    assert not any(one.codec == "image" for one in plan.allowed)
    assert "the image files stay on this machine, as required" in plan.reason


def test_a_profile_with_a_large_error_makes_an_unreliable_plan():
    profile = profile_of(1000, 1000, 1 * MBIT)
    assert make_plan(NARROW, profile, PlanRequest()).unreliable is None
    curve = PiecewiseLinear(((0.0, 0.0), (500.0, 800.0), (1000.0, 1000.0)))
    plan = make_plan(
        NARROW, replace(profile, times={32: curve}, tail=replace(profile.tail, times={32: curve})), PlanRequest()
    )
    assert plan.unreliable.startswith("unreliable: ")
    assert "30%" in plan.unreliable
    assert "--remeasure" in plan.unreliable
    assert plan.sentence == f"{plan.reason} This plan is {plan.unreliable}"
    curve = PiecewiseLinear(((0.0, 0.0), (500.0, 740.0), (1000.0, 1000.0)))
    near = replace(profile, times={32: curve}, tail=replace(profile.tail, times={32: curve}))
    assert make_plan(NARROW, near, PlanRequest()).unreliable is None


def test_a_tail_on_this_machines_cores_makes_an_unreliable_plan():
    profile = profile_of(1000, 1000, 1 * MBIT)
    near = replace(profile, tail=replace(profile.tail, shares_cores=True))
    assert "this machine's own cores" in make_plan(NARROW, near, PlanRequest()).unreliable


@pytest.mark.parametrize("objective", ["bytes", "cloud-seconds", "cost"])
def test_a_plan_that_needs_no_tail_states_the_rate_that_does(objective):
    for min_rate in (None, 100):
        plan = make_plan(NARROW, profile_of(1000, 10, 1000 * MBIT), PlanRequest(objective, min_rate=min_rate))
        assert plan.chosen.cut is None
        assert "at more than its 1,000 images/s (--min-rate) plans use the tail" in plan.reason
    assert make_plan(NARROW, profile_of(1000, 10, 1000 * MBIT), PlanRequest(objective, min_rate=1100)).chosen.cut


def test_cuts_with_equal_figures_are_one_row_that_of_the_last():
    equal = chain((100, 500), (100, 500), (100, 500), (50, 900))
    plan = make_plan(equal, profile_of(20_000, 10, 20 * MBIT), PlanRequest("latency", earliest_cut="c001"))
    assert {one.split.name for one in plan.ranking()} == {"local", "c003", "c004"}
    assert plan.chosen.split.name == "c003"


def test_cuts_that_hardly_use_the_tail_come_last():
    """Nearly all images would run locally, so their rate is that of a local run."""
    plan = make_plan(chain((900, 100)), profile_of(1000, 400, 0.1 * MBIT), PlanRequest())
    ranked = [(one.cut is not None and one.offload_share < 0.03, -one.shared_rate) for one in plan.ranking()[1:]]
    assert ranked == sorted(ranked)
    assert {hardly for hardly, _ in ranked} == {True, False}


def test_a_change_of_conditions_is_described():
    before = Conditions(Link(10 * MBIT, 0))
    assert describe_change(before, Conditions(Link(1 * MBIT, 0))) == "the link now has 1 Mbit/s (10 Mbit/s before)"
    slower = describe_change(before, Conditions(Link(10 * MBIT, 0), head_factor=2.0, tail_factor=1.5))
    assert slower == "this machine now takes 2 x the planned time, the tail now takes 1.5 x the planned time"


def test_the_ranking_begins_with_the_chosen_plan_and_continues_best_first():
    plan = make_plan(NARROW, profile_of(1000, 400, 1 * MBIT), PlanRequest())
    chosen, *others = plan.ranking()
    assert chosen is plan.chosen
    used = [one.shared_rate for one in others if one.cut is None or one.offload_share >= 0.03]
    unused = [one.shared_rate for one in others[len(used) :]]
    assert used == sorted(used, reverse=True)
    assert unused == sorted(unused, reverse=True)
    assert used
    assert {one.figures for one in plan.ranking()} == {one.figures for one in plan.allowed}


def test_a_link_without_bandwidth_means_run_locally():
    for objective in ("throughput", "latency"):
        assert make_plan(NARROW, profile_of(1000, 1, 0), PlanRequest(objective)).chosen.cut is None


def test_a_model_without_cuts_can_still_be_uploaded_or_run_locally():
    assert make_plan(chain(), profile_of(1000, 1000, 0.01 * MBIT), PlanRequest()).reason.startswith(
        "for throughput, run locally"
    )
    fast = make_plan(chain(), profile_of(1000, 1, 1000 * MBIT), PlanRequest("latency"))
    assert fast.chosen.name == "c000 input"


def test_without_a_tail_the_only_candidate_is_local():
    plan = make_plan(NARROW, without_tail(profile_of(1000, 1, 1)), PlanRequest())
    assert {one.name for one in plan.candidates} == {"all local"}
    assert "--tail" in plan.reason


def test_the_cut_depends_on_the_link():
    def cut(rate_bps: float) -> str:
        return make_plan(NARROW, profile_of(20_000, 1000, rate_bps), PlanRequest("latency")).chosen.split.name

    assert [cut(mbit * MBIT) for mbit in (1000, 1.2, 0.01)] == ["c000", "c002", "local"]


def test_an_earliest_cut_keeps_its_layers_and_the_images_on_this_machine():
    request = PlanRequest("latency", earliest_cut="layer2")
    plan = make_plan(NARROW, profile_of(20_000, 10, 1000 * MBIT), request)
    assert plan.chosen.split.name == "c002"
    with pytest.raises(CutNotFound):
        make_plan(NARROW, profile_of(1, 1, 1), PlanRequest(earliest_cut="layer9"))


def test_an_earliest_cut_excludes_earlier_cuts_of_equal_work():
    """A pooling or an activation has no multiply-accumulates, but the user may require it on this machine."""
    pooled = chain((100, 500), (60, 500), (80, 500), (50, 900))
    plan = make_plan(pooled, profile_of(20_000, 10, 1000 * MBIT), PlanRequest("latency", earliest_cut="c002"))
    assert {one.split.name for one in plan.allowed} == {"local", "c002", "c003", "c004"}
    assert {one.split.name for one in plan.candidates} == {"local", "c000", "c001", "c002", "c003", "c004"}


def test_sent_bytes_per_image_are_limited():
    request = PlanRequest("latency", max_sent_bytes=700)
    plan = make_plan(NARROW, profile_of(20_000, 10, 1000 * MBIT), request)
    assert plan.chosen.sent_bytes <= 700
    assert {one for one in plan.candidates if one.sent_bytes <= 700} == set(plan.allowed)
    assert len(plan.allowed) < len(plan.candidates)
    assert plan.chosen.cut is not None
    assert make_plan(NARROW, profile_of(20_000, 10, 1000 * MBIT), PlanRequest(max_sent_bytes=0)).chosen.cut is None


def test_impossible_constraints_are_reported_with_the_fastest_plan():
    request = PlanRequest(max_sent_bytes=10, min_rate=1e5)
    with pytest.raises(WrongUsage, match=r"--min-rate 100000 images/s.*fastest is all local with 1,000,"):
        make_plan(NARROW, profile_of(1000, 10, 1000 * MBIT), request)


def test_the_cheapest_plan_that_is_fast_enough():
    profile = profile_of(20_000, 1000, 1000 * MBIT)
    assert make_plan(NARROW, profile, PlanRequest("cost")).chosen.cut is None
    chosen = make_plan(NARROW, profile, PlanRequest("cost", min_rate=90)).chosen
    assert chosen.rate >= 90
    assert chosen.cut is not None
    dearer = make_plan(NARROW, profile, PlanRequest("cost", min_rate=900)).chosen
    assert dearer.cost > chosen.cost


def test_an_unknown_objective_is_reported():
    with pytest.raises(WrongUsage, match="throughput, latency"):
        PlanRequest("speed")


def test_present_conditions_override_the_profile():
    profile = profile_of(1000, 100, 1000 * MBIT)
    slow = make_plan(NARROW, profile, PlanRequest(), conditions=Conditions(Link(100, 0)))
    assert slow.chosen.cut is None
    assert (
        make_plan(NARROW, profile, PlanRequest(), conditions=Conditions(profile.tail.link, tail_factor=1e6)).chosen.cut
        is None
    )


def test_plans_are_the_same_for_the_same_profile_even_from_json():
    profile = profile_of(1000, 300, 5 * MBIT, round_trip_us=20_000)
    again = Profile.from_json(json.dumps(profile.to_dict()))
    assert again == profile
    assert make_plan(NARROW, again, PlanRequest()) == make_plan(NARROW, profile, PlanRequest())


def test_prices_come_from_the_table(tmp_path):
    prices = read_prices()
    assert prices.cost(1000, 0, 0, 0) == pytest.approx(1000 * 1.769 * 0.0000166667)
    path = tmp_path / "prices.toml"
    path.write_text("lambda_gb_second = -1\n")
    with pytest.raises(WrongUsage, match=r"Expected `float` >= 0.0 - at `\$.lambda_gb_second`"):
        read_prices(path)
    path.write_text("not toml")
    with pytest.raises(WrongUsage, match=r"not a price table \(Expected"):
        read_prices(path)
    path.write_text("other = 1\n")
    with pytest.raises(
        WrongUsage,
        match=r"prices.toml is not a price table \(Object contains unknown field `other`\); define lambda_gb_second, ",
    ):
        read_prices(path)
    with pytest.raises(WrongUsage, match=r"Cannot read the prices in .*: No such file"):
        read_prices(tmp_path / "none")


@pytest.mark.parametrize("cuts", [75, 150])
def test_a_decision_takes_few_calls_for_each_candidate(cuts):
    """A thousand candidates should take 10 ms. Calls are counted, which do not depend on the machine: 46 for each."""
    bundle = chain(*((1000 - i, i * 5) for i in range(1, cuts)))
    profile, request = profile_of(1000, 300, 5 * MBIT), PlanRequest(codecs=("fp16", "int8"))
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        plan = make_plan(bundle, profile, request)
    finally:
        sys.setprofile(None)
    assert len(plan.candidates) > 6 * cuts
    assert calls < 80 * len(plan.candidates)
