"""Bundles and profiles with given numbers: a chain of cuts on machines and links of given speeds."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from hybrid_batch.data.images.decode import Preprocessing
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import Cut, TensorSpec
from hybrid_batch.inference.planner.profile.device import Device
from hybrid_batch.inference.planner.profile.piecewise_linear import PiecewiseLinear
from hybrid_batch.inference.planner.profile.profile import CodecCost, ImageStats, Link, Profile, TailProfile

WORK = 1000


def chain(*cuts: tuple[int, int]) -> Bundle:
    """A bundle with these cuts, (elements, work of the head out of 1000), after an input of 1000 elements."""
    all_cuts = [Cut("c000", "input", (TensorSpec("in:0", (1000,), "FP32"),), 0, WORK)]
    for number, (elements, work) in enumerate(cuts, 1):
        tensor = TensorSpec(f"t{number}:0", (elements,), "FP32")
        all_cuts.append(Cut(f"c{number:03d}", f"layer{number}", (tensor,), work, WORK - work))
    return Bundle(
        path=Path(),
        name="chain",
        source="",
        sha256="0" * 64,
        input=all_cuts[0].boundary[0],
        output=TensorSpec("out:0", (10,), "FP32"),
        preprocessing=Preprocessing(10, 10, "grey"),
        labels=tuple("abcdefghij"),
        output_kind="probabilities",
        cuts=tuple(all_cuts),
    )


def profile_of(
    head_us: float, tail_us: float, rate_bps: float, *, round_trip_us: float = 0, image_bytes: float = 5000
) -> Profile:
    """A profile with times proportional to work: at any batch size, an image takes the whole model `head_us` on this
    machine and `tail_us` in the tail. fp32 has 4 bytes per element, fp16 two, int8 one and q4 a quarter. Codecs and
    decoding take no time."""
    device = Device("local", "synthetic", 1, None, 1 << 30, None, None)
    tail = TailProfile("remote", _linear(tail_us), 0.0, Link(rate_bps, round_trip_us))
    flat = {"fp16": 2.0, "int8": 1.0, "fp32": 4.0, "q4": 0.25}
    return Profile(
        bundle="0" * 64,
        runtime="openvino",
        device=device,
        images=ImageStats(1, image_bytes, 0.0),
        times=_linear(head_us),
        codecs={name: CodecCost(0.0, 0.0, PiecewiseLinear(((0.0, size),))) for name, size in flat.items()},
        tail=tail,
    )


def without_tail(profile: Profile) -> Profile:
    return replace(profile, tail=None)


def scaled(profile: Profile, bundle: Bundle) -> Profile:
    """The same times for a real bundle, over its own work."""
    total = float(bundle.input_cut.tail_macs)

    def rescale(times: Mapping[int, PiecewiseLinear]) -> dict[int, PiecewiseLinear]:
        return {
            batch: PiecewiseLinear(tuple((work * total / WORK, us) for work, us in curve.points))
            for batch, curve in times.items()
        }

    assert profile.tail is not None
    return replace(profile, times=rescale(profile.times), tail=replace(profile.tail, times=rescale(profile.tail.times)))


def _linear(whole_us: float) -> dict[int, PiecewiseLinear]:
    return {batch: PiecewiseLinear(((0.0, 0.0), (float(WORK), whole_us))) for batch in (1, 8, 32)}
