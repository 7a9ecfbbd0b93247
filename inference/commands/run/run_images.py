"""A run from its options to its totals: the command `run` and the Python API call `run_images`."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hybrid_batch.data.terminal.messages import print_detail, print_message, print_note
from hybrid_batch.data.terminal.numbers import format_count
from hybrid_batch.inference.commands.run.options import DEFAULT_SHARD_SIZE, RunOptions

if TYPE_CHECKING:
    from hybrid_batch.data.images.images import ImageSet
    from hybrid_batch.data.log.runs import RunFolder
    from hybrid_batch.inference.commands.run.prepared_run import PreparedRun
    from hybrid_batch.inference.model.bundle import Bundle
    from hybrid_batch.inference.model.runtimes import Runtime
    from hybrid_batch.inference.runner.runner import RunSpec
    from hybrid_batch.inference.runner.totals import Totals
    from hybrid_batch.inference.tails import Tail
    from hybrid_batch.inference.tails.settings import TailSettings


@dataclass(frozen=True, slots=True)
class RunResult:
    """A complete run: its folder, bundle, images and totals. `not_applied` are options of the command that differ from
    those of a run that was complete before, each as one phrase. `own`: this user began the run on this machine."""

    folder: "RunFolder"
    bundle: "Bundle" = field(repr=False)
    images: "ImageSet" = field(repr=False)
    totals: "Totals"
    not_applied: tuple[str, ...] = ()
    own: bool = True


def run_images(options: RunOptions, confirm: Callable[[str], None] = lambda _: None) -> RunResult:
    """Classify the images of `options.images` that the run's folder does not contain yet, and log them.

    A complete run is neither computed again nor is its tail contacted, except with `options.overwrite`; before that
    deletes a run, `confirm` is called with the question for the user. Notes and the progress bar go to stderr. Raises
    WrongUsage, TailUnreachable, TailRefused, StorageFailed and Interrupted; after any of them, the same call continues
    the run."""
    from hybrid_batch.inference.commands.run.overwrite import find_existing, remove_run
    from hybrid_batch.inference.commands.run.prepared_run import (
        calibrated,
        note_other_images,
        prepare_run,
        settings_not_applied,
    )
    from hybrid_batch.inference.model.runtimes import open_runtime
    from hybrid_batch.inference.tails import open_tail

    run = calibrated(prepare_run(options))
    foreign = None
    existing = find_existing(run.folder) if options.overwrite else ()
    if existing:
        confirm(
            f"Delete the {format_count(len(existing), 'object')} of {run.folder.uri} and classify its images again?"
        )
    else:
        if foreign := run.describe_foreign():
            print_note(
                f"{foreign.removesuffix('.')} (--overwrite classifies the images again, --log names another log)."
            )
        _verify(run)
    if not existing and (totals := run.finished_totals()) is not None:
        if run.folder.totals() is None:  # it was killed between the last part and the totals
            totals.reason = run.reason
            run.folder.mark_complete(totals.to_dict())
        print_message("This run is complete; nothing to do. (--run-id NAME starts another, --overwrite repeats it.)")
        not_applied = settings_not_applied(run, totals)
        return RunResult(run.folder, run.bundle, run.images, totals, not_applied, foreign is None)
    _print_local_note(run)
    note_other_images(run)
    runtime = open_runtime(options.runtime, run.bundle)
    with open_tail(options.tail, run.bundle, runtime, _tail_settings(options)) as tail:
        events: list[str] = []
        reachable = _check_tail(run, tail, events)
        remove_run(run.folder, existing)
        spec = _spec(run, runtime, tail, events)
        if options.is_adaptive:
            from hybrid_batch.inference.commands.run.auto_split import make_router

            spec = replace(spec, router=make_router(options, spec, reachable=reachable))
        totals = _run_shards(spec)
    return RunResult(run.folder, run.bundle, run.images, totals, own=foreign is None)


def _verify(run: "PreparedRun") -> None:
    """With --verify-images, raise ImagesChanged for an image that is not the one that was classified."""
    from hybrid_batch.inference.runner.verify_images import verify_images

    if run.options.verify_images and run.existing() is not None:
        compared, unknown = verify_images(run.folder, run.images)
        print_message(f"{format_count(compared, 'image')} compared with the log: none has changed.")
        if unknown:
            print_note(f"{format_count(unknown, 'record')} cannot be compared: the log has no hash of the image.")


def _print_local_note(run: "PreparedRun") -> None:
    """The first line of a split run whose tail is in this process."""
    from hybrid_batch.inference.runner.split import LocalSplit
    from hybrid_batch.inference.tails import LOCAL

    options = run.options
    if options.tail != LOCAL or isinstance(run.split, LocalSplit):
        return
    model, tail = shlex.quote(options.model), shlex.quote(f"lambda:hybrid-batch-{run.bundle.name}")
    print_message(
        "Head and tail both run in this process, and the log shows what the cut would send; to put the tail elsewhere: "
        f"`hybrid-batch serve {model} --port 8000` on another machine and `run --tail http://HOST:8000`, or "
        f"`hybrid-batch cloud deploy {model}` and `run --tail {tail}`."
    )
    print_detail(run.reason or "The cut is the one that --split names.")


def _check_tail(run: "PreparedRun", tail: "Tail", events: list[str]) -> bool:
    """Whether the tail responds; if an adaptive run goes on without it, that is added to `events`.

    Raises TailUnreachable unless the run is adaptive, BundleMismatch, TailRefused."""
    from hybrid_batch.inference.commands.run.auto_split import is_reachable
    from hybrid_batch.inference.runner.split import LocalSplit

    if run.options.is_adaptive:
        return is_reachable(tail, events)
    if not isinstance(run.split, LocalSplit):
        tail.check(run.split.name)
    return True


def _spec(run: "PreparedRun", runtime: "Runtime", tail: "Tail", events: list[str]) -> "RunSpec":
    """What the runner needs. Creates the run's folder, or opens it to continue the run."""
    from hybrid_batch.data.images.decoding.pixel_budget import MEGA, PixelBudget
    from hybrid_batch.inference.runner.routing import FixedRouter
    from hybrid_batch.inference.runner.runner import Concurrency, RunSpec
    from hybrid_batch.inference.tails import redacted_address

    options, inputs = run.options, run.open()
    if options.shard_size not in (inputs.shard_size, DEFAULT_SHARD_SIZE):
        print_note(f"--shard-size {options.shard_size} is not applied: the run was begun with {inputs.shard_size}.")
    return RunSpec(
        run.bundle,
        FixedRouter(run.split, options.batch_size, run.reason),
        runtime,
        tail,
        redacted_address(options.tail),
        inputs.images,
        run.folder,
        inputs.shard_size,
        Concurrency(options.in_flight),
        events,
        PixelBudget(options.max_pixels * MEGA),
    )


def _tail_settings(options: RunOptions) -> "TailSettings":
    from hybrid_batch.data.images.decoding.pixel_budget import MEGA, PixelBudget
    from hybrid_batch.inference.tails.settings import RetryPolicy, TailSettings

    if options.is_adaptive:  # it gives up early, because it can compute locally
        retries = RetryPolicy(connect_timeout_s=2, response_timeout_s=10, attempts=2)
    elif options.patience:
        retries = RetryPolicy(patience_s=options.patience)
    else:
        retries = RetryPolicy(attempts=1)
    pixels = PixelBudget(options.max_pixels * MEGA)
    return TailSettings(options.in_flight, retries, options.spill, options.token_file, print_message, pixels)


def _run_shards(spec: "RunSpec") -> "Totals":
    """Run with a progress bar; errors that end the run also report what is committed."""
    from hybrid_batch.data.errors import (
        AwsRefused,
        AwsUnreachable,
        Interrupted,
        InvalidFrame,
        TailRefused,
        TailUnreachable,
    )
    from hybrid_batch.inference.commands.run.progress import RunProgress
    from hybrid_batch.inference.runner.runner import run_shards

    try:
        with RunProgress(spec) as progress:
            return run_shards(spec, progress.update)
    except KeyboardInterrupt as error:
        raise Interrupted(f"Interrupted; {_committed(spec)}") from error
    except (TailUnreachable, TailRefused, AwsRefused, AwsUnreachable, InvalidFrame) as error:
        error.args = (f"{str(error).rstrip('.')}; {_committed(spec)}",)
        raise


def _committed(spec: "RunSpec") -> str:
    from hybrid_batch.data.errors import StorageFailed
    from hybrid_batch.data.log.runs import shards

    rows = spec.images.table.num_rows
    try:
        sizes, present = dict(shards(rows, spec.shard_size)), spec.folder.parts()
        images = sum(len(sizes[shard]) for shard in present.keys() & sizes.keys())
        done = f"{len(present)} of {format_count(len(sizes), 'shard')} ({images:,} of {rows:,} images) are"
    except StorageFailed:  # perhaps the cause of the interruption
        done = "all finished shards are"
    return f"{done} committed in {spec.folder.uri}, and the same command continues the run."
