"""The plan: of all candidates the one that serves the objective best within the constraints, and why."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.data.terminal.numbers import figure, percent
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import Cut
from hybrid_batch.inference.planner.calibration.calibration import Choice
from hybrid_batch.inference.planner.plan.candidates import Candidate, Conditions, list_candidates
from hybrid_batch.inference.planner.plan.prices import Prices, read_prices
from hybrid_batch.inference.planner.profile.profile import Profile
from hybrid_batch.inference.protocol import codecs

# What each makes least.
OBJECTIVES: dict[str, Callable[[Candidate], float]] = {
    "throughput": lambda candidate: 1 / candidate.shared_rate,
    "latency": lambda candidate: candidate.latency_us,
    "bytes": lambda candidate: candidate.sent_bytes,
    "cloud-seconds": lambda candidate: candidate.cloud_s,
    "cost": lambda candidate: candidate.cost,
}
_WORTH = 1.03  # gains smaller than the errors of measuring are none; then fewer bytes and smaller batches win
_FEW = 8  # but where many images a second are wanted, no smaller: in a run each request costs more than by itself


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user wants. `min_cut` is a cut's id or name: at least its layers here. Bytes are an image's, the
    rate is images/s. `codecs` are those that may be used, besides the pictures' own upload and the codecs that were
    calibrated, `choices` by the cut's id."""

    objective: str = "throughput"
    min_cut: str | None = None
    max_sent_bytes: int | None = None
    min_rate: float | None = None
    codecs: tuple[str, ...] = ("fp16",)
    in_flight: int = 4
    choices: Mapping[str, Choice] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise WrongUsage(f"No objective {self.objective!r}; choose one of {', '.join(OBJECTIVES)}.")


@dataclass(frozen=True, slots=True)
class Plan:
    """The chosen candidate, the best that sends anything within the constraints, one sentence that says why, all
    candidates, and of them those within the constraints."""

    chosen: Candidate
    sending: Candidate | None
    why: str
    candidates: tuple[Candidate, ...]
    allowed: tuple[Candidate, ...]


def make_plan(
    bundle: Bundle, profile: Profile, wishes: Wishes, prices: Prices | None = None, now: Conditions | None = None
) -> Plan:
    """The best plan; the same for the same profile, always. Raises CutNotFound, and WrongUsage when no candidate
    keeps the constraints."""
    names = [name for name in wishes.codecs if name not in codecs.PICTURE_CODECS]
    candidates = list_candidates(
        bundle, profile, names, wishes.in_flight, prices or read_prices(), now=now, choices=wishes.choices
    )
    allowed = _allowed(bundle, candidates, wishes)
    value = OBJECTIVES[wishes.objective]
    best = min(map(value, allowed))
    near = [candidate for candidate in allowed if value(candidate) <= best * _WORTH]
    few = min(_FEW, max(profile.times)) if wishes.objective == "throughput" else 0
    chosen = min(near, key=lambda one: (one.sent_bytes > 0, one.batch < few, one.batch, value(one)))
    link = now.link if now else profile.tail.link if profile.tail else None
    sending = min((one for one in allowed if one.cut is not None), key=value, default=None)
    why = _why(chosen, allowed, profile, wishes, link.told if link else "")
    return Plan(chosen, sending, why, tuple(candidates), tuple(allowed))


def _allowed(bundle: Bundle, candidates: Sequence[Candidate], wishes: Wishes) -> list[Candidate]:
    cuts = _cuts_from(bundle, wishes.min_cut)
    kept = [
        candidate
        for candidate in candidates
        if (
            candidate.cut is None or (candidate.cut.id in cuts and candidate.codec in _codecs_of(candidate.cut, wishes))
        )
        and (wishes.max_sent_bytes is None or candidate.sent_bytes <= wishes.max_sent_bytes)
    ]
    if wishes.min_rate is None:
        return kept
    fast = [candidate for candidate in kept if _rate(candidate, wishes) >= wishes.min_rate]
    if not fast:
        best = max(kept, key=lambda candidate: _rate(candidate, wishes))
        raise WrongUsage(
            f"No plan reaches --min-rate {wishes.min_rate:g} images/s within the other constraints; "
            f"the fastest is {best.name} with {figure(_rate(best, wishes))}, so ask for less or allow more."
        )
    return fast


def _cuts_from(bundle: Bundle, min_cut: str | None) -> frozenset[str]:
    """The ids of the cuts that keep here at least what this one does. Work tells which they are; of cuts with equal
    work, as before and after a pooling, their order in the bundle, which is that of a walk through the graph for all
    but some of those with several tensors."""
    least = bundle.whole if min_cut is None else bundle.cut(min_cut)
    if least is bundle.whole:
        return frozenset(cut.id for cut in bundle.cuts)
    after = bundle.cuts[bundle.cuts.index(least) + 1 :]
    equal = [cut for cut in after if cut.head_macs == least.head_macs and not cut.is_frontier]
    more = [cut for cut in bundle.cuts if cut.head_macs > least.head_macs]
    return frozenset(cut.id for cut in (least, *equal, *more))


def _codecs_of(cut: Cut, wishes: Wishes) -> tuple[str, ...]:
    choice = wishes.choices.get(cut.id)
    return (codecs.IMAGE, *wishes.codecs, *([choice.codec] if choice else []))


def _rate(candidate: Candidate, wishes: Wishes) -> float:
    return candidate.shared_rate if wishes.objective == "throughput" else candidate.rate


def _why(chosen: Candidate, allowed: Sequence[Candidate], profile: Profile, wishes: Wishes, link: str) -> str:
    local = min((one for one in allowed if one.cut is None), key=OBJECTIVES[wishes.objective], default=None)
    sending = [one for one in allowed if one.cut is not None]
    if chosen.cut is None:
        if profile.tail is None:
            return (
                f"run locally: {figure(chosen.rate)} images/s here, and there is no tail to compare with (--tail URL)."
            )
        if not sending:
            return f"run locally: no cut keeps the constraints, and this machine does {figure(chosen.rate)} images/s."
        value = OBJECTIVES[wishes.objective]
        best = min(sending, key=value)
        little = ", a gain within the errors of measuring" if value(best) < value(chosen) else ""
        return (
            f"run locally: {_told(chosen, wishes)}, and the best way to send over this link of "
            f"{link}, {best.name} in {best.codec}, gives {_told(best, wishes)}{_shared(best, wishes)}{little}."
        )
    words = f"{chosen.name} in {chosen.codec}, batch {chosen.batch}: {_told(chosen, wishes)}"
    words += _shared(chosen, wishes) or f", bound by the {chosen.bound} stage"
    if local is not None:
        words += f"; all local gives {_told(local, wishes)}"
    if profile.tail is not None and profile.tail.shares_cores:
        words += "; the tail works on this machine's own cores"
    return words + "."


def _shared(candidate: Candidate, wishes: Wishes) -> str:
    """How the work is shared, where it is."""
    if wishes.objective != "throughput" or candidate.share >= 1:
        return ""
    return f" with {percent(candidate.share)} of the images sent and the others whole here"


def _told(candidate: Candidate, wishes: Wishes) -> str:
    return {
        "throughput": f"{figure(candidate.shared_rate)} images/s",
        "latency": f"{figure(candidate.latency_us / 1000)} ms an image",
        "bytes": f"{candidate.sent_bytes:,.0f} bytes an image",
        "cloud-seconds": f"{figure(candidate.cloud_s)} s of the cloud for 1,000 images",
        "cost": f"${candidate.cost:,.3g} for 1,000 images",
    }[wishes.objective]
