"""The explanation of a plan in one sentence: the objective, the link, the choice and what it was compared with."""

from dataclasses import dataclass

from hybrid_batch.data.terminal.numbers import format_number, format_percent
from hybrid_batch.inference.planner.plan.candidates import OBJECTIVES, Candidate
from hybrid_batch.inference.planner.plan.cost_model import Conditions
from hybrid_batch.inference.planner.profile.profile import Link, Profile
from hybrid_batch.inference.protocol import codecs

_FREE_LOCALLY = "bytes", "cloud-seconds", "cost"
MAX_ERROR = 0.25  # of the time of an image; a larger error of the heads' times makes a plan unreliable


@dataclass(frozen=True, slots=True)
class Alternatives:
    """The best candidates, within the constraints, that send tensors or files, that run locally, and that send image
    files as stored; None where there is none. `local_rate` is the highest rate of the local ones, in images/s."""

    remote: Candidate | None
    local: Candidate | None
    upload: Candidate | None
    local_rate: float


def explain(
    chosen: Candidate, others: Alternatives, objective: str, link: Link | None, profile: Profile, *, keeps_images: bool
) -> str:
    """The reason for the chosen candidate. `link` is None without a tail; `keeps_images` is true where the images must
    stay on this machine."""
    if chosen.cut is None:
        return f"for {objective}, {_explain_local(chosen, others, objective, link)}."
    assert link is not None  # noqa: S101 - only a profile with a tail has candidates with a cut
    sent = f"{chosen.payload_bytes:,.0f} bytes per image sent"
    if profile.images.bytes:
        sent += f" ({format_number(chosen.payload_bytes / profile.images.bytes)} x the sampled files')"
    how = _sharing(chosen, objective) or f", limited by the {chosen.bottleneck} stage"
    clauses = [
        f"for {objective} over a link of {link.rate_text}, {chosen.name} with codec {chosen.codec}, batch "
        f"{chosen.batch}: {_value(chosen, objective)}{how}, {sent}"
    ]
    if keeps_images:
        clauses.append("the image files stay on this machine, as required")
    elif chosen.codec != codecs.IMAGE and others.upload is not None:
        clauses.append(f"image files as stored: {_value(others.upload, objective)}")
    if others.local is not None:
        clauses.append(f"all local: {_value(others.local, objective)}")
    return "; ".join(clauses) + "."


def find_unreliable(profile: Profile) -> str | None:
    """Why predictions from the profile are not reliable, and what to do, as one sentence; None if they are."""
    if profile.interpolation_error > MAX_ERROR:
        return (
            f"unreliable: the times of unmeasured heads may be wrong by {profile.interpolation_error:.0%} of the time "
            "of an image; measure again with `hybrid-batch profile --remeasure`, the same model, --tail, --images and "
            "--batch-size, while nothing else runs on this machine."
        )
    if profile.tail is not None and profile.tail.shares_cores:
        return (
            "unreliable: the tail runs on this machine's own cores, so that both slow each other down; plan with a "
            "tail on another machine."
        )
    return None


def describe_change(before: Conditions, now: Conditions) -> str:
    """What differs between two conditions, as the beginning of a sentence."""
    changes = []
    if now.link.rate_text != before.link.rate_text:
        changes.append(f"the link now has {now.link.rate_text} ({before.link.rate_text} before)")
    for name, was, factor in (
        ("this machine", before.head_factor, now.head_factor),
        ("the tail", before.tail_factor, now.tail_factor),
    ):
        if factor != was:
            changes.append(f"{name} now takes {format_number(factor)} x the planned time")
    return ", ".join(changes) or "the results are confirmed"


def _explain_local(chosen: Candidate, others: Alternatives, objective: str, link: Link | None) -> str:
    if link is None:
        return (
            f"run locally: {format_number(chosen.rate)} images/s on this machine, and no tail to compare with "
            "(--tail URL)"
        )
    if others.remote is None:
        return (
            f"run locally: no cut satisfies the constraints; this machine reaches {format_number(chosen.rate)} images/s"
        )
    if objective in _FREE_LOCALLY:
        return (
            f"run locally: {_value(chosen, objective)}, because a run on this machine alone has none of them; at more "
            f"than its {format_number(others.local_rate)} images/s (--min-rate) plans use the tail"
        )
    gain = OBJECTIVES[objective](others.remote) < OBJECTIVES[objective](chosen)
    small = ", a gain within the measurement error" if gain else ""
    return (
        f"run locally: {_value(chosen, objective)}; over this link of {link.rate_text} the best alternative is "
        f"{others.remote.name} with codec {others.remote.codec}: {_value(others.remote, objective)}"
        f"{_sharing(others.remote, objective)}{small}"
    )


def _sharing(candidate: Candidate, objective: str) -> str:
    """How images are divided between both ends, as the end of a clause; empty if all are sent."""
    if objective != "throughput" or candidate.offload_share >= 1:
        return ""
    return f" with {format_percent(candidate.offload_share)} of the images sent and the others run locally"


def _value(candidate: Candidate, objective: str) -> str:
    """The candidate's value of the objective, for people."""
    return {
        "throughput": f"{format_number(candidate.shared_rate)} images/s",
        "latency": f"{format_number(candidate.latency_us / 1000)} ms per image",
        "bytes": f"{candidate.sent_bytes:,.0f} bytes per image",
        "cloud-seconds": f"{format_number(candidate.cloud_s)} s in the cloud per 1,000 images",
        "cost": f"${candidate.cost:,.3g} per 1,000 images",
    }[objective]
