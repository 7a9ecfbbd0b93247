"""The plan: the candidate that serves an objective best within the constraints, and the reason."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.data.terminal.numbers import format_number, format_percent
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import Cut
from hybrid_batch.inference.planner.calibration.accuracy_drop import CodecChoice
from hybrid_batch.inference.planner.plan.candidates import Candidate
from hybrid_batch.inference.planner.plan.cost_model import Conditions, CostModel
from hybrid_batch.inference.planner.plan.prices import Prices, read_prices
from hybrid_batch.inference.planner.profile.profile import Link, Profile
from hybrid_batch.inference.protocol import codecs

# Each objective is minimised.
OBJECTIVES: dict[str, Callable[[Candidate], float]] = {
    "throughput": lambda candidate: 1 / candidate.shared_rate,
    "latency": lambda candidate: candidate.latency_us,
    "bytes": lambda candidate: candidate.sent_bytes,
    "cloud-seconds": lambda candidate: candidate.cloud_s,
    "cost": lambda candidate: candidate.cost,
}
_TOLERANCE = 1.03  # smaller gains are within the measurement error: then fewer bytes and smaller batches win
_MIN_BATCH = 8  # for throughput, because in a run requests cost more than measured one by one


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """An objective and constraints.

    `earliest_cut` is the id or name of a cut whose layers must stay on this machine. `max_sent_bytes` is per image,
    `min_rate` in images/s. `codecs` are allowed besides the upload of image files as stored, and besides
    `codec_choices`, the calibrated codecs by cut id. Raises WrongUsage for an unknown objective."""

    objective: str = "throughput"
    earliest_cut: str | None = None
    max_sent_bytes: int | None = None
    min_rate: float | None = None
    codecs: tuple[str, ...] = ("fp16",)
    in_flight: int = 4
    codec_choices: Mapping[str, CodecChoice] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise WrongUsage(f"No objective {self.objective!r}; choose one of {', '.join(OBJECTIVES)}.")


@dataclass(frozen=True, slots=True)
class Plan:
    """The chosen candidate; the best allowed candidate that sends anything; one sentence with the reason; all
    candidates; and those within the constraints."""

    chosen: Candidate
    best_remote: Candidate | None
    reason: str
    candidates: tuple[Candidate, ...]
    allowed: tuple[Candidate, ...]


def make_plan(
    bundle: Bundle,
    profile: Profile,
    request: PlanRequest,
    prices: Prices | None = None,
    conditions: Conditions | None = None,
) -> Plan:
    """Choose the best candidate; without `conditions`, at those of the profile. Equal arguments give equal plans.

    Raises CutNotFound, and WrongUsage when no candidate satisfies the constraints."""
    codec_names = [name for name in request.codecs if name not in codecs.IMAGE_CODECS]
    model = CostModel(bundle, profile, prices or read_prices(), request.in_flight, conditions)
    candidates = model.list_candidates(codec_names, request.codec_choices)
    allowed = _constrain(bundle, candidates, request)
    objective = OBJECTIVES[request.objective]
    valued = [(candidate, objective(candidate)) for candidate in allowed]
    best = min(value for _, value in valued)
    near = [(candidate, value) for candidate, value in valued if value <= best * _TOLERANCE]
    min_batch = min(_MIN_BATCH, max(profile.times)) if request.objective == "throughput" else 0
    chosen, _ = min(near, key=lambda pair: (pair[0].cut is not None, pair[0].batch < min_batch, pair[0].batch, pair[1]))
    remote = [(candidate, value) for candidate, value in valued if candidate.cut is not None]
    best_remote = min(remote, key=lambda pair: pair[1])[0] if remote else None
    if chosen.cut is None:
        link = conditions.link if conditions else profile.tail.link if profile.tail else None
        reason = _explain_local(chosen, best_remote, link, request)
    else:
        local = min((pair for pair in valued if pair[0].cut is None), key=lambda pair: pair[1], default=(None, 0.0))[0]
        reason = _explain_remote(chosen, local, request, shares_cores=bool(profile.tail and profile.tail.shares_cores))
    return Plan(chosen, best_remote, reason, tuple(candidates), tuple(allowed))


def _constrain(bundle: Bundle, candidates: Sequence[Candidate], request: PlanRequest) -> list[Candidate]:
    cuts = _cuts_from(bundle, request.earliest_cut)
    allowed = [
        candidate
        for candidate in candidates
        if (
            candidate.cut is None
            or (candidate.cut.id in cuts and candidate.codec in _allowed_codecs(candidate.cut, request))
        )
        and (request.max_sent_bytes is None or candidate.sent_bytes <= request.max_sent_bytes)
    ]
    if request.min_rate is None:
        return allowed
    fast = [candidate for candidate in allowed if _rate(candidate, request) >= request.min_rate]
    if not fast:
        fastest = max(allowed, key=lambda candidate: _rate(candidate, request))
        raise WrongUsage(
            f"No plan reaches --min-rate {request.min_rate:g} images/s within the other constraints; the fastest is "
            f"{fastest.name} with {format_number(_rate(fastest, request))}, so lower the rate or relax a constraint."
        )
    return fast


def _cuts_from(bundle: Bundle, earliest_cut: str | None) -> frozenset[str]:
    """The ids of the cuts whose heads contain at least the layers of this one.

    These are the cuts with more work. Cuts with equal work, such as those before and after a pooling, are compared by
    their order in the bundle, which follows the graph except for some cuts with several tensors."""
    earliest = bundle.input_cut if earliest_cut is None else bundle.cut(earliest_cut)
    if earliest is bundle.input_cut:
        return frozenset(cut.id for cut in bundle.cuts)
    after = bundle.cuts[bundle.cuts.index(earliest) + 1 :]
    equal = [cut for cut in after if cut.head_macs == earliest.head_macs and not cut.is_multi_tensor]
    more = [cut for cut in bundle.cuts if cut.head_macs > earliest.head_macs]
    return frozenset(cut.id for cut in (earliest, *equal, *more))


def _allowed_codecs(cut: Cut, request: PlanRequest) -> tuple[str, ...]:
    choice = request.codec_choices.get(cut.id)
    return (codecs.IMAGE, *request.codecs, *([choice.codec] if choice else []))


def _rate(candidate: Candidate, request: PlanRequest) -> float:
    return candidate.shared_rate if request.objective == "throughput" else candidate.rate


def _explain_local(chosen: Candidate, best_remote: Candidate | None, link: Link | None, request: PlanRequest) -> str:
    rate = f"{format_number(chosen.rate)} images/s"
    if link is None:
        return f"run locally: {rate} on this machine, and no tail to compare with (--tail URL)."
    if best_remote is None:
        return f"run locally: no cut satisfies the constraints; this machine reaches {rate}."
    objective = OBJECTIVES[request.objective]
    small = ", a gain within the measurement error" if objective(best_remote) < objective(chosen) else ""
    return (
        f"run locally: {_value(chosen, request)}; over this link of {link.rate_text} the best alternative is "
        f"{best_remote.name} with codec {best_remote.codec}: {_value(best_remote, request)}"
        f"{_sharing(best_remote, request)}{small}."
    )


def _explain_remote(chosen: Candidate, local: Candidate | None, request: PlanRequest, *, shares_cores: bool) -> str:
    how = _sharing(chosen, request) or f", limited by the {chosen.bottleneck} stage"
    clauses = [f"{chosen.name} with codec {chosen.codec}, batch {chosen.batch}: {_value(chosen, request)}{how}"]
    if local is not None:
        clauses.append(f"all local: {_value(local, request)}")
    if shares_cores:
        clauses.append("the tail runs on this machine's own cores")
    return "; ".join(clauses) + "."


def _sharing(candidate: Candidate, request: PlanRequest) -> str:
    """How images are divided between both ends, as the end of a clause; empty if all are sent."""
    if request.objective != "throughput" or candidate.offload_share >= 1:
        return ""
    return f" with {format_percent(candidate.offload_share)} of the images sent and the others run locally"


def _value(candidate: Candidate, request: PlanRequest) -> str:
    """The candidate's value of the objective, for people."""
    return {
        "throughput": f"{format_number(candidate.shared_rate)} images/s",
        "latency": f"{format_number(candidate.latency_us / 1000)} ms per image",
        "bytes": f"{candidate.sent_bytes:,.0f} bytes per image",
        "cloud-seconds": f"{format_number(candidate.cloud_s)} s in the cloud per 1,000 images",
        "cost": f"${candidate.cost:,.3g} per 1,000 images",
    }[request.objective]
