"""The router of a run with --split auto and a remote tail.

It measures this machine, the tail and the link, plans, and adapts its cut to the link. While the tail is
unreachable it computes everything locally.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hybrid_batch.data.terminal.messages import print_message
from hybrid_batch.inference.commands.run.options import RunOptions

if TYPE_CHECKING:
    from hybrid_batch.inference.model.runtimes import Runtime
    from hybrid_batch.inference.planner.adapt.adaptive_router import AdaptiveRouter
    from hybrid_batch.inference.runner.routing import Router
    from hybrid_batch.inference.runner.runner import RunSpec
    from hybrid_batch.inference.tails import Tail

_MEASURING_BUDGET_S = 15.0  # for a model, a tail and a link without a stored profile
_UNTIL_REACHABLE = "Running locally until the tail responds."


def event_recorder(events: list[str]) -> Callable[[str], None]:
    """A function that prints a line and appends it with the time (UTC) to `events`."""

    def record(line: str) -> None:
        print_message(line)
        events.append(f"{datetime.now(UTC):%H:%M:%S} UTC {line}")

    return record


def is_reachable(tail: "Tail", events: list[str]) -> bool:
    """Whether the tail responds; a failure is also printed and added to `events`. Raises BundleMismatch,
    TailRefused."""
    from hybrid_batch.data.errors import TailUnreachable
    from hybrid_batch.inference.model.cuts import INPUT_CUT

    try:
        tail.check(INPUT_CUT)
    except TailUnreachable as error:
        event_recorder(events)(f"{error} {_UNTIL_REACHABLE}")
        return False
    return True


def make_router(options: RunOptions, spec: "RunSpec", *, reachable: bool) -> "Router":
    """The router that adapts to the link; for an unreachable tail, one that runs locally and adapts once it
    responds. Its changes of the split and failures of the tail are printed and added to the events of `spec`."""
    from hybrid_batch.data.errors import TailUnreachable
    from hybrid_batch.inference.planner.adapt.deferred_router import DeferredRouter

    record = event_recorder(spec.events)
    if reachable:
        try:
            return _adaptive_router(options, spec, spec.runtime, record)
        except TailUnreachable as error:
            record(f"{error} {_UNTIL_REACHABLE}")
    return DeferredRouter(
        spec.tail,
        spec.runtime,
        options.batch_size,
        lambda runtime: _adaptive_router(options, spec, runtime, record),
        record,
    )


def _adaptive_router(
    options: RunOptions, spec: "RunSpec", runtime: "Runtime", record: Callable[[str], None]
) -> "AdaptiveRouter":
    """Measure with `runtime`, unless the profile is stored, and plan."""
    from hybrid_batch.inference.planner.adapt.adaptive_router import AdaptiveRouter
    from hybrid_batch.inference.planner.plan.accuracy_constraint import (
        NOT_CALIBRATED,
        constrain,
        make_calibrator,
        nearby_links,
    )
    from hybrid_batch.inference.planner.plan.plan import PlanRequest
    from hybrid_batch.inference.planner.profile.profile_store import open_profile
    from hybrid_batch.inference.planner.profile.target import ProfileTarget
    from hybrid_batch.inference.protocol.codecs import FP16

    cut = spec.bundle.cut(options.earliest_cut).id if options.earliest_cut else None
    request = PlanRequest(earliest_cut=cut, codecs=(options.codec or FP16,), in_flight=options.in_flight)
    target = ProfileTarget(spec.bundle, runtime, spec.tail, spec.tail_name, options.batch_size, spec.images)
    profile = open_profile(target, print_message, budget_s=_MEASURING_BUDGET_S)
    for note in profile.tail.notes if profile.tail else ():
        print_message(f"Note: {note}")
    if options.codec == "auto" and profile.tail is not None:
        calibrate = make_calibrator(spec.bundle, runtime, spec.images, options.max_accuracy_drop, print_message)
        request = constrain(spec.bundle, profile, request, nearby_links(profile.tail.link), calibrate)
        if not request.codec_choices:
            print_message(f"Note: {NOT_CALIBRATED}")
    router = AdaptiveRouter(spec.bundle, profile, request, spec.tail, record)
    print_message(f"Plan: {router.reason}")
    return router
