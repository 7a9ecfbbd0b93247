"""The plan: the candidate that serves an objective best within the constraints, and the reason."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.data.terminal.numbers import format_number
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import Cut
from hybrid_batch.inference.planner.calibration.accuracy_drop import CodecChoice
from hybrid_batch.inference.planner.plan.candidates import OBJECTIVES, Candidate
from hybrid_batch.inference.planner.plan.cost_model import Conditions, CostModel
from hybrid_batch.inference.planner.plan.explanation import Alternatives, explain, find_unreliable
from hybrid_batch.inference.planner.plan.prices import Prices, read_prices
from hybrid_batch.inference.planner.profile.profile import Profile
from hybrid_batch.inference.protocol import codecs

_MIN_SHARE = 0.03
_TOLERANCE = 1.05  # smaller gains are within the measurement error: then fewer bytes and smaller batches win
_TIMES = "throughput", "latency"
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
    """The chosen candidate and its objective; the best allowed candidate that sends anything; one sentence with the
    reason; all candidates; those within the constraints; and, where the profile's error is large, one sentence that
    begins with "unreliable: " and ends with what to do."""

    chosen: Candidate
    objective: str
    best_remote: Candidate | None
    reason: str
    candidates: tuple[Candidate, ...]
    allowed: tuple[Candidate, ...]
    unreliable: str | None = None

    @property
    def sentence(self) -> str:
        """The reason, and the sentence about an unreliable profile."""
        return self.reason if self.unreliable is None else f"{self.reason} This plan is {self.unreliable}"

    def ranking(self) -> list[Candidate]:
        """The candidates within the constraints: the chosen one, then the others, best first; of candidates with equal
        figures, such as those of a layer and its activation, only the last."""
        distinct = {one.figures: one for one in self.allowed} | {self.chosen.figures: self.chosen}
        others = (one for one in distinct.values() if one is not self.chosen)
        return [self.chosen, *sorted(others, key=self._rank)]

    def _rank(self, candidate: Candidate) -> tuple[bool, float]:
        """For throughput, cuts for which hardly any image is sent come last: their rate is that of a local run."""
        is_local_in_effect = candidate.cut is not None and candidate.offload_share < _MIN_SHARE
        return self.objective == "throughput" and is_local_in_effect, OBJECTIVES[self.objective](candidate)


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
    allowed = _without_wasteful(_constrain(bundle, candidates, request), request.objective)
    objective = OBJECTIVES[request.objective]
    valued = [(candidate, objective(candidate)) for candidate in allowed]
    chosen = _choose(valued, min_batch=min(_MIN_BATCH, max(profile.times)) if request.objective == "throughput" else 0)
    others = Alternatives(
        remote=_best(pair for pair in valued if pair[0].cut is not None),
        local=_best(pair for pair in valued if pair[0].cut is None),
        upload=_best(pair for pair in valued if pair[0].codec == codecs.IMAGE),
        local_rate=max((one.rate for one in allowed if one.cut is None), default=0.0),
    )
    link = conditions.link if conditions else profile.tail.link if profile.tail else None
    keeps_images = request.earliest_cut is not None and bundle.cut(request.earliest_cut) is not bundle.input_cut
    reason = explain(chosen, others, request.objective, link, profile, keeps_images=keeps_images)
    return Plan(
        chosen,
        request.objective,
        others.remote,
        reason,
        tuple(candidates),
        tuple(allowed),
        find_unreliable(profile) if profile.tail is not None else None,
    )


def _without_wasteful(allowed: list[Candidate], objective: str) -> list[Candidate]:
    """Without tensors that are larger than the image files, where these may be sent.

    Such tensors serve neither throughput nor latency: where the tail computes faster than this machine, it is better to
    send the files, and otherwise to send nothing. Only the decoding of the files could change that."""
    files = [one.payload_bytes for one in allowed if one.codec == codecs.IMAGE]
    if objective not in _TIMES or not files:
        return allowed
    return [one for one in allowed if one.cut is None or one.payload_bytes <= files[0] * _TOLERANCE]


def _choose(valued: Sequence[tuple[Candidate, float]], *, min_batch: int) -> Candidate:
    """The best candidate. Of those within the tolerance a local one, else the one that sends the least, in the smallest
    batches of at least `min_batch` images; the last of equal cuts, because activations have more zeros."""
    best = min(value for _, value in valued)
    near = [(candidate, value) for candidate, value in valued if value <= best * _TOLERANCE]

    def preference(pair: tuple[Candidate, float]) -> tuple[bool, bool, float, int, float]:
        candidate, value = pair
        is_remote, is_small = candidate.cut is not None, candidate.batch < min_batch
        return is_remote, is_small, round(candidate.payload_bytes), candidate.batch, value

    return min(reversed(near), key=preference)[0]


def _best(valued: Iterable[tuple[Candidate, float]]) -> Candidate | None:
    """The candidate of the smallest value; of equals the last, as in `Plan.ranking`."""
    return min(reversed(list(valued)), key=lambda pair: pair[1], default=(None, 0.0))[0]


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
