"""A run from its options to its totals: the command `run` and the Python API call `run_images`."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hybrid_batch.data.terminal.messages import print_message, print_note
from hybrid_batch.inference.commands.run.auto_split import RunOptions, codec_label, is_reachable, make_router

if TYPE_CHECKING:
    from hybrid_batch.data.images.images import ImageSet
    from hybrid_batch.data.log.runs import RunFolder
    from hybrid_batch.inference.model.bundle import Bundle
    from hybrid_batch.inference.model.cuts import Cut
    from hybrid_batch.inference.model.runtimes import Runtime
    from hybrid_batch.inference.runner.run_identity import RunInputs
    from hybrid_batch.inference.runner.runner import RunSpec
    from hybrid_batch.inference.runner.split import Split
    from hybrid_batch.inference.runner.totals import Totals
    from hybrid_batch.inference.tails.settings import TailSettings


@dataclass(frozen=True, slots=True)
class RunResult:
    """A complete run: its inputs, with its folder, its totals, and whether its split was adaptive."""

    spec: "RunSpec"
    totals: "Totals"
    is_adaptive: bool


def run_images(options: RunOptions) -> RunResult:
    """Classify the images of `options.images` that the run's folder does not contain yet, and log them.

    Notes and the progress bar go to stderr. Raises WrongUsage, TailUnreachable, TailRefused, StorageFailed and
    Interrupted; after any of them, the same call continues the run."""
    from hybrid_batch.data.images.labels import find_labelled_images
    from hybrid_batch.inference.model.importing.resolve_model import resolve_model
    from hybrid_batch.inference.model.runtimes import open_runtime
    from hybrid_batch.inference.runner.routing import FixedRouter
    from hybrid_batch.inference.runner.runner import Concurrency, RunSpec
    from hybrid_batch.inference.runner.split import AUTO, LocalSplit, split_at
    from hybrid_batch.inference.runner.totals import Totals
    from hybrid_batch.inference.tails import open_tail, redacted_address

    bundle = resolve_model(options.model, print_message)
    _check(options)
    split = _initial_split(options, bundle)
    images = find_labelled_images(options.images, options.labels, bundle.labels, print_message)
    runtime = open_runtime(options.runtime, bundle)
    with open_tail(options.tail, bundle, runtime, _tail_settings(options)) as tail:
        reachable = not options.is_adaptive or is_reachable(tail, print_message)
        if not isinstance(split, LocalSplit) and not options.is_adaptive:
            tail.check(split.name)
            if options.codec == AUTO:
                cut = bundle.cut(split.name)
                split = split_at(cut, _calibrated_codec(options, bundle, runtime, cut, images))
        folder, inputs = _open_run(options, bundle, split, images)
        router = FixedRouter(split, options.batch_size)
        concurrency = Concurrency(options.in_flight)
        name = redacted_address(options.tail)
        spec = RunSpec(bundle, router, runtime, tail, name, inputs.images, folder, inputs.shard_size, concurrency)
        if inputs.is_complete(folder) and (finished := folder.totals()) is not None:
            totals = Totals.from_dict(finished)
            print_message("This run is complete; nothing to do. (--run-id NAME starts another.)")
        else:
            if options.is_adaptive:
                spec = replace(spec, router=make_router(options, spec, print_message, reachable=reachable))
            totals = _run_shards(spec)
    return RunResult(spec, totals, options.is_adaptive)


def _initial_split(options: RunOptions, bundle: "Bundle") -> "Split":
    """The split of a run that is not adaptive; an adaptive one starts locally, unless it sends images."""
    from hybrid_batch.inference.protocol.codecs import IMAGE_CODECS
    from hybrid_batch.inference.runner.split import AUTO, LOCAL, LocalSplit, choose_split

    codec = None if options.codec == AUTO and options.split != LOCAL else options.codec
    if options.is_adaptive and codec not in IMAGE_CODECS:
        return LocalSplit()
    split = choose_split(bundle, options.split, codec)
    if isinstance(split, LocalSplit) and not options.is_adaptive and options.tail != LOCAL:
        print_note("--split local runs the whole model on this machine; --tail is not used.")
    return split


def _open_run(
    options: RunOptions, bundle: "Bundle", split: "Split", images: "ImageSet"
) -> tuple["RunFolder", "RunInputs"]:
    """Create the folder of the run with its inputs, or open it to continue the run."""
    from hybrid_batch.data.log.runs import run_folder
    from hybrid_batch.data.storage.open_storage import open_storage
    from hybrid_batch.inference.runner.run_identity import RunIdentity, open_run, run_metadata
    from hybrid_batch.inference.tails import redacted_address

    codec = codec_label(options) if options.is_adaptive else split.codec
    identity = RunIdentity(bundle.sha256, options.split, codec, options.runtime)
    folder = run_folder(open_storage(options.log), options.run_id or identity.run_id(images.table))
    metadata = run_metadata(bundle, images, redacted_address(options.tail))
    return folder, open_run(folder, identity, images, options.shard_size, metadata)


def _tail_settings(options: RunOptions) -> "TailSettings":
    from hybrid_batch.inference.tails.settings import RetryPolicy, TailSettings

    # An adaptive run gives up early, because it can compute locally.
    brief = RetryPolicy(connect_timeout_s=2, response_timeout_s=10, attempts=2)
    retries = brief if options.is_adaptive else RetryPolicy()
    return TailSettings(options.in_flight, retries, options.spill, options.token_file, print_message)


def _check(options: RunOptions) -> None:
    """Raises WrongUsage for options that contradict each other."""
    from hybrid_batch.data.errors import WrongUsage
    from hybrid_batch.inference.model.cuts import INPUT_CUT
    from hybrid_batch.inference.protocol.codecs import IMAGE_CODECS
    from hybrid_batch.inference.tails import tail_kind

    sends_images = options.split in ("remote", INPUT_CUT) and options.codec in (None, *IMAGE_CODECS)
    if tail_kind(options.tail).accepts_only_images and not sends_images:
        *others, last = IMAGE_CODECS
        raise WrongUsage(
            f"{options.tail} accepts only images; use --split remote with --codec {', '.join(others)} or {last}."
        )
    if options.earliest_cut and not options.is_adaptive:
        raise WrongUsage("--earliest-cut needs --split auto and a remote --tail; choose a fixed cut with --split.")
    if options.max_accuracy_drop is not None and options.codec != "auto":
        raise WrongUsage("--max-accuracy-drop needs --codec auto; it has no effect on a named codec.")


def _calibrated_codec(options: RunOptions, bundle: "Bundle", runtime: "Runtime", cut: "Cut", images: "ImageSet") -> str:
    from hybrid_batch.inference.planner.plan.accuracy_constraint import make_calibrator

    return make_calibrator(bundle, runtime, images, options.max_accuracy_drop, print_message)(cut).codec


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
    from hybrid_batch.inference.runner.output import RunProgress
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

    try:
        shards = f"{len(spec.folder.parts())} shards"
    except StorageFailed:  # perhaps the cause of the interruption
        shards = "all finished shards"
    return f"{shards} are committed in {spec.folder.uri}, and the same command continues the run."
