"""Bundles and profiles by arithmetic: a chain of cuts on machines and links of stated speeds."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from hybrid_batch.data.images.decode import Preparation
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import Cut, TensorSpec
from hybrid_batch.inference.planner.profile.device import Device
from hybrid_batch.inference.planner.profile.piecewise_linear import Curve
from hybrid_batch.inference.planner.profile.profile import CodecCost, Link, Pictures, Profile, TailSpeed

WORK = 1000


def chain(*cuts: tuple[int, int]) -> Bundle:
    """A bundle of cuts (elements, head's work of 1000), after the whole model with 1000 elements."""
    made = [Cut("c000", "input", (TensorSpec("in:0", (1000,), "FP32"),), 0, WORK)]
    for number, (elements, work) in enumerate(cuts, 1):
        tensor = TensorSpec(f"t{number}:0", (elements,), "FP32")
        made.append(Cut(f"c{number:03d}", f"layer{number}", (tensor,), work, WORK - work))
    return Bundle(
        path=Path(),
        name="chain",
        source="",
        sha256="0" * 64,
        input=made[0].boundary[0],
        output=TensorSpec("out:0", (10,), "FP32"),
        preparation=Preparation(10, 10, "grey"),
        labels=tuple("abcdefghij"),
        output_kind="probabilities",
        cuts=tuple(made),
    )


def profile_of(
    head_us: float, tail_us: float, rate_bps: float, *, round_trip_us: float = 0, picture_bytes: float = 5000
) -> Profile:
    """Linear speeds: the whole model takes `head_us` an image here and `tail_us` there at any batch; fp16 two bytes
    an element, int8 one, q4 a quarter; codecs and decoding cost no time."""
    device = Device("here", "made", 1, None, 1 << 30, None, None)
    tail = TailSpeed("there", _linear(tail_us), 0.0, Link(rate_bps, round_trip_us))
    flat = {"fp16": 2.0, "int8": 1.0, "fp32": 4.0, "q4": 0.25}
    return Profile(
        bundle="0" * 64,
        engine="openvino",
        device=device,
        pictures=Pictures(1, picture_bytes, 0.0),
        times=_linear(head_us),
        codecs={name: CodecCost(0.0, 0.0, Curve(((0.0, size),))) for name, size in flat.items()},
        tail=tail,
    )


def without_tail(profile: Profile) -> Profile:
    return replace(profile, tail=None)


def scaled(profile: Profile, bundle: Bundle) -> Profile:
    """The same speeds for a real bundle, whatever its work."""
    total = float(bundle.whole.tail_macs)

    def stretched(times: Mapping[int, Curve]) -> dict[int, Curve]:
        return {
            batch: Curve(tuple((work * total / WORK, us) for work, us in curve.points))
            for batch, curve in times.items()
        }

    assert profile.tail is not None
    return replace(
        profile, times=stretched(profile.times), tail=replace(profile.tail, times=stretched(profile.tail.times))
    )


def _linear(whole_us: float) -> dict[int, Curve]:
    return {batch: Curve(((0.0, 0.0), (float(WORK), whole_us))) for batch in (1, 8, 32)}
