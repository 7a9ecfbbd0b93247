"""How `hybrid-batch run --split auto` begins with a tail elsewhere: measure, plan, follow the link; or wait for a tail
that is away."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from hybrid_batch.inference.commands.run_options import RunOptions

if TYPE_CHECKING:
    from hybrid_batch.inference.model.runtimes import Engine
    from hybrid_batch.inference.planner.adapt.adaptive_router import Follower
    from hybrid_batch.inference.runner.routing import Follow
    from hybrid_batch.inference.runner.runner import Job
    from hybrid_batch.inference.tails import Tail

_BUDGET_S = 15.0  # to measure a model, a tail and a link that are new


def codec_of(options: RunOptions) -> str:
    """What the name of a run that follows tells of its codecs: which are taken depends on how it goes."""
    from hybrid_batch.inference.planner.plan.accuracy_constraint import DROP_POINTS
    from hybrid_batch.inference.protocol.codecs import HALF

    if options.codec != "auto":
        return options.codec or HALF
    return f"auto {DROP_POINTS if options.max_accuracy_drop is None else options.max_accuracy_drop:g}"


def is_away(tail: "Tail", say: Callable[[str], None]) -> bool:
    """Whether the tail does not answer, told to the user. Raises OtherBundle, TailRefused."""
    from hybrid_batch.data.errors import TailUnreachable
    from hybrid_batch.inference.model.cuts import WHOLE

    try:
        tail.check(WHOLE)
    except TailUnreachable as error:
        say(f"{error} Starting here until it answers.")
        return True
    return False


def follow(options: RunOptions, job: "Job", say: Callable[[str], None], *, away: bool) -> "Follow":
    """Who says where each batch goes; while the tail is away, who waits for it."""
    from hybrid_batch.data.errors import TailUnreachable
    from hybrid_batch.inference.planner.adapt.deferred_router import Joining

    if not away:
        try:
            return _follower(options, job, job.engine, say)
        except TailUnreachable as error:
            say(f"{error} Starting here until it answers.")
    return Joining(job.tail, job.engine, options.batch_size, lambda engine: _follower(options, job, engine, say), say)


def _follower(options: RunOptions, job: "Job", engine: "Engine", say: Callable[[str], None]) -> "Follower":
    """Measure with an engine, unless that was done before, and plan."""
    from hybrid_batch.inference.planner.adapt.adaptive_router import Follower
    from hybrid_batch.inference.planner.plan.accuracy_constraint import calibrator, limit_wishes, links_around
    from hybrid_batch.inference.planner.plan.plan import Wishes
    from hybrid_batch.inference.planner.profile.profile_store import open_profile
    from hybrid_batch.inference.planner.profile.target import Subject
    from hybrid_batch.inference.protocol.codecs import HALF

    cut = job.bundle.cut(options.min_cut).id if options.min_cut else None
    wishes = Wishes(min_cut=cut, codecs=(options.codec or HALF,), in_flight=options.in_flight)
    subject = Subject(job.bundle, engine, job.tail, job.tail_name, options.batch_size, job.images)
    profile = open_profile(subject, say, budget_s=_BUDGET_S)
    for note in profile.tail.notes if profile.tail else ():
        say(f"Note: {note}")
    if options.codec == "auto" and profile.tail is not None:
        calibrate = calibrator(job.bundle, engine, job.images, options.max_accuracy_drop, say)
        wishes = limit_wishes(job.bundle, profile, wishes, links_around(profile.tail.link), calibrate)
    follower = Follower(job.bundle, profile, wishes, job.tail, say)
    say(f"Plan: {follower.plan.why}")
    return follower
