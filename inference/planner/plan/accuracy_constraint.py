"""Plans within a limit of accuracy: the cuts that a plan would take are calibrated, and it is made again, until it
takes one whose loss was measured. Calibrating every cut of a model would take an hour."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from hybrid_batch.data.images.images import Images
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import WHOLE, Cut
from hybrid_batch.inference.model.runtimes import Engine
from hybrid_batch.inference.planner.calibration.calibration import Choice, Drop, choose_codec
from hybrid_batch.inference.planner.plan.candidates import Conditions
from hybrid_batch.inference.planner.plan.plan import Wishes, make_plan
from hybrid_batch.inference.planner.profile.profile import Link, Profile
from hybrid_batch.inference.protocol import codecs

DROP_POINTS = 0.5  # what a calibrated codec may cost, unless the user says otherwise
LOSSLESS = (codecs.RAW,)
_MOST = 4
_GUESS, _PICTURES_GUESS = "q4", "jpeg75"  # about what calibrations find
_FACTORS = (1, 1 / 4, 4, 1 / 16, 16)
_UNKNOWN = Drop(0, False, 0.0, 100.0, 0.0)


def calibrator(
    bundle: Bundle, engine: Engine, images: Images, limit_points: float | None, say: Callable[[str], None]
) -> Callable[[Cut], Choice]:
    """What chooses the codec of a cut that loses at most so many points on these images, and says what it does."""
    limit = DROP_POINTS if limit_points is None else limit_points

    def calibrate(cut: Cut) -> Choice:
        choice = choose_codec(bundle, engine, cut, images, limit_points=limit, say=say)
        say(f"Codec {choice.codec} at {cut.id}: {choice.image_bytes:,.0f} bytes an image, {choice.drop}.")
        return choice

    return calibrate


def links_around(link: Link) -> list[Link]:
    """The link as it is, and as it may become while a run lasts: up to 16 times slower and faster."""
    return [Link(link.rate_bps * factor, link.round_trip_us) for factor in _FACTORS]


def limit_wishes(
    bundle: Bundle, profile: Profile, wishes: Wishes, links: Sequence[Link], calibrate: Callable[[Cut], Choice]
) -> Wishes:
    """The wishes with codecs whose loss is measured and nothing else: those without any, and what `calibrate` chooses
    for the cuts that plans take over these links, at most four cuts, the first link's first."""
    wishes = replace(wishes, codecs=LOSSLESS)
    guesses = {cut.id: guess for cut in bundle.cuts if (guess := _guess(cut, profile))}
    found: dict[str, Choice] = {}
    for link in links:
        while len(found) < _MOST:
            hoped = replace(wishes, choices=guesses | found)
            chosen = make_plan(bundle, profile, hoped, now=Conditions(link)).chosen
            if chosen.cut is None or chosen.cut.id in found or chosen.codec in (*LOSSLESS, codecs.IMAGE):
                break
            found[chosen.cut.id] = calibrate(chosen.cut)
    return replace(wishes, choices=found)


def _guess(cut: Cut, profile: Profile) -> Choice | None:
    """What a calibration of the cut would choose."""
    if cut.id == WHOLE:
        size, _ = profile.pictures.jpeg.get(_PICTURES_GUESS, (None, None))
        return Choice(_PICTURES_GUESS, size, _UNKNOWN) if size is not None else None
    return Choice(_GUESS, cut.elements * profile.codecs[_GUESS].bytes.at(cut.head_macs), _UNKNOWN)
