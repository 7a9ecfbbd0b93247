"""Plans within an accuracy limit: calibrate the cut that a plan takes and plan again, until the cut's loss is measured.

Calibrating all cuts of a model would take an hour.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pyarrow.compute as pc

from hybrid_batch.data.images.images import ImageSet
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import INPUT_CUT, Cut
from hybrid_batch.inference.model.runtimes import Runtime
from hybrid_batch.inference.planner.calibration.accuracy_drop import AccuracyDrop, CodecChoice
from hybrid_batch.inference.planner.calibration.calibration import choose_codec
from hybrid_batch.inference.planner.plan.cost_model import Conditions
from hybrid_batch.inference.planner.plan.plan import PlanRequest, make_plan
from hybrid_batch.inference.planner.profile.profile import Link, Profile
from hybrid_batch.inference.protocol import codecs

DEFAULT_DROP_POINTS = 0.5  # the accuracy that a calibrated codec may lose
LOSSLESS = (codecs.FP32,)
NOT_CALIBRATED = (
    "No codec was calibrated, because the plan sends no tensors; --earliest-cut, or --min-rate of `plan`, select plans "
    "that do."
)
_MAX_CALIBRATED = 4
_TENSOR_ESTIMATE, _IMAGE_ESTIMATE = "q4", "jpeg75"  # about the size of calibrated codecs
_LINK_FACTORS = (1, 1 / 4, 4, 1 / 16, 16)
_UNKNOWN_DROP = AccuracyDrop(0, False, 0.0, 100.0, 0.0)


def make_calibrator(
    bundle: Bundle, runtime: Runtime, images: ImageSet, limit_points: float | None, notify: Callable[[str], None]
) -> Callable[[Cut], CodecChoice]:
    """Make a function that chooses the codec of a cut within `limit_points` on these images, and reports it to
    `notify`. None is the default limit."""
    limit = DEFAULT_DROP_POINTS if limit_points is None else limit_points

    file_bytes = float(pc.mean(images.table["size"]).as_py() or 0)

    def calibrate(cut: Cut) -> CodecChoice:
        choice = choose_codec(bundle, runtime, cut, images, limit_points=limit, notify=notify)
        size = f"{choice.image_bytes:,.0f} bytes per image in batches, without headers (image files: {file_bytes:,.0f})"
        notify(f"Codec {choice.codec} at {cut.id}: {size}; it {choice.drop}.")
        return choice

    return calibrate


def nearby_links(link: Link) -> list[Link]:
    """The link now, and the link as it may become during a run: up to 16 times slower and faster."""
    return [Link(link.rate_bps * factor, link.round_trip_us) for factor in _LINK_FACTORS]


def constrain(
    bundle: Bundle,
    profile: Profile,
    request: PlanRequest,
    links: Sequence[Link],
    calibrate: Callable[[Cut], CodecChoice],
) -> PlanRequest:
    """Restrict a request to codecs whose loss is known: lossless ones, and those that `calibrate` chooses for the cuts
    that plans take over these links. At most four cuts are calibrated, those of the first link first."""
    request = replace(request, codecs=LOSSLESS)
    estimates = {cut.id: estimate for cut in bundle.cuts if (estimate := _estimate(cut, profile))}
    measured: dict[str, CodecChoice] = {}
    for link in links:
        while len(measured) < _MAX_CALIBRATED:
            optimistic = replace(request, codec_choices=estimates | measured)
            chosen = make_plan(bundle, profile, optimistic, conditions=Conditions(link)).chosen
            if chosen.cut is None or chosen.cut.id in measured or chosen.codec == codecs.IMAGE:
                break
            if chosen.cut.id not in estimates:  # the tail decodes no calibrated codec of this cut
                break
            measured[chosen.cut.id] = calibrate(chosen.cut)
    return replace(request, codec_choices=measured)


def _estimate(cut: Cut, profile: Profile) -> CodecChoice | None:
    """The expected result of calibrating the cut; None if the tail would not decode it."""
    if cut.id == INPUT_CUT:
        size, _ = profile.images.jpeg.get(_IMAGE_ESTIMATE, (None, None))
        return CodecChoice(_IMAGE_ESTIMATE, size, _UNKNOWN_DROP) if size is not None else None
    if profile.tail is not None and not profile.tail.decodes_calibrated:
        return None
    size = cut.elements * profile.codecs[_TENSOR_ESTIMATE].bytes.at(cut.head_macs)
    return CodecChoice(_TENSOR_ESTIMATE, size, _UNKNOWN_DROP)
