"""The cut of a run for which nothing is measured: the best of a plan for stated speeds and a link of 20 Mbit/s.

The cut depends only on the bundle, the codec and the sizes of the image files. The same command therefore takes the
same cut on every machine and resumes its run.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow.compute as pc

from hybrid_batch.data.errors import ModelRefused
from hybrid_batch.data.images.images import ImageSet
from hybrid_batch.data.terminal.numbers import format_percent
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import Cut
from hybrid_batch.inference.planner.plan.candidates import OBJECTIVES, Candidate
from hybrid_batch.inference.planner.plan.plan import PlanRequest, make_plan
from hybrid_batch.inference.planner.profile.device import Device
from hybrid_batch.inference.planner.profile.piecewise_linear import PiecewiseLinear
from hybrid_batch.inference.planner.profile.profile import CodecCost, ImageStats, Link, Profile, TailProfile
from hybrid_batch.inference.protocol import codecs
from hybrid_batch.inference.runner.split import AUTO, check_sends_tensors

LINK = Link(20e6, 0)
# Multiply-accumulates per second: two cores of a server compute 1e11 to 1.6e11, and small computers about a tenth.
_DEVICE_MACS_S, _TAIL_MACS_S = 1e10, 1e11
_BATCH = 32
_NEAR = 1.03  # smaller differences of rates and bytes do not count
# Bytes per element. A codec that is not listed has those of fp16; a calibrated one is about as small as q4.
_ELEMENT_BYTES = {codecs.FP32: 4.0, "int8": 0.9, "q6": 0.53, "q5": 0.4, "q4": 0.28, "q3": 0.17, "q2": 0.08}
_FP16_BYTES, _CALIBRATED_BYTES = 2.0, _ELEMENT_BYTES["q4"]


@dataclass(frozen=True, slots=True)
class DefaultCut:
    """A cut, the codec (None where one is calibrated at the cut), and the expected bytes of a request per image: of the
    boundary, and of the image files as stored."""

    cut: Cut
    codec: str | None
    cut_bytes: float
    upload_bytes: float

    @property
    def reason(self) -> str:
        """Why this cut is taken, as one sentence that names the assumed link."""
        cut = f"{self.cut.id} {self.cut.name}"
        sizes = f"{self.cut_bytes:,.0f} bytes per image in a request, {self.upload_bytes:,.0f} with the image files"
        rest = f"{format_percent(1 - self.cut.head_share)} of the work is left to the tail"
        if self.cut_bytes <= self.upload_bytes * _NEAR:
            most = "no" if self.cut_bytes <= self.upload_bytes else "hardly"
            return (
                f"For a link of {LINK.rate_text}, which is assumed, {cut} is the fastest cut that sends {most} more"
                f" than the image files: {sizes}; {rest}."
            )
        return (
            f"For a link of {LINK.rate_text}, which is assumed, {cut} is the fastest cut, but every cut with work after"
            f" it sends more than the image files: {sizes}; {rest}."
        )


def default_cut(bundle: Bundle, images: ImageSet, codec: str | None = None) -> DefaultCut:
    """The cut of a run without a plan. Without `codec` boundaries are sent as fp16; `auto` stands for a calibrated one.

    A cut that sends more than the image files, or that leaves no work to the tail, is taken only where all do. Raises
    ModelRefused for a model without cuts, WrongUsage for a codec of image files."""
    check_sends_tensors(codec, AUTO)
    name = codec or codecs.FP16
    plan = make_plan(bundle, _stated_profile(bundle, name, images), PlanRequest(codecs=(name,)))
    remote = [(one, one.cut) for one in plan.candidates if one.cut is not None]
    (upload,) = (one for one, _ in remote if one.codec == codecs.IMAGE)
    inner = [(one, cut) for one, cut in remote if cut is not bundle.input_cut]
    if not inner:
        raise ModelRefused(f"{bundle.name} has no cut; run the whole model locally with --split local.")
    working = [(one, cut) for one, cut in inner if cut.tail_macs] or inner
    small = [(one, cut) for one, cut in working if one.sent_bytes <= upload.sent_bytes * _NEAR]
    chosen, cut = _best(small or working)
    return DefaultCut(cut, None if name == AUTO else name, chosen.sent_bytes, upload.sent_bytes)


def _best(candidates: Sequence[tuple[Candidate, Cut]]) -> tuple[Candidate, Cut]:
    """The candidate of fewest bytes among the fastest; the latest of equals, because activations have more zeros."""
    objective = OBJECTIVES[PlanRequest().objective]
    best = min(objective(one) for one, _ in candidates)
    near = [pair for pair in candidates if objective(pair[0]) <= best * _NEAR]
    return min(reversed(near), key=lambda pair: pair[0].sent_bytes)


def _stated_profile(bundle: Bundle, codec: str, images: ImageSet) -> Profile:
    """The profile of machines with the stated speeds."""
    element_bytes = _CALIBRATED_BYTES if codec == AUTO else _ELEMENT_BYTES.get(codec, _FP16_BYTES)
    image_bytes = float(pc.mean(images.table["size"]).as_py() or 0)
    return Profile(
        bundle=bundle.sha256,
        runtime="stated",
        device=Device("stated", "stated", 1, None, 0, None, None),
        images=ImageStats(0, image_bytes, 0.0),
        times=_times(bundle, _DEVICE_MACS_S),
        codecs={codec: CodecCost(0.0, 0.0, PiecewiseLinear(((0.0, element_bytes),)))},
        tail=TailProfile("stated", _times(bundle, _TAIL_MACS_S), 0.0, LINK),
    )


def _times(bundle: Bundle, macs_s: float) -> dict[int, PiecewiseLinear]:
    work = float(bundle.input_cut.tail_macs)
    return {_BATCH: PiecewiseLinear.from_points([(0.0, 0.0), (work, 1e6 * work / macs_s)])}
