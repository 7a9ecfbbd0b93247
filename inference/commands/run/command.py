"""`hybrid-batch run`: classify a folder of images, split between this machine and a tail, and log the predictions."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from hybrid_batch.data.terminal.messages import print_json, print_note
from hybrid_batch.inference.commands.run.auto_split import RunOptions, codec_label, is_reachable, make_router
from hybrid_batch.inference.commands.options import CodecName, in_flight_option, runtime_option, tail_options

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


@click.command("run", short_help="Classify images, split between this machine and a tail.")
@click.argument("images")
@click.option("--model", default="digits", show_default=True, help="Bundle, model file, SavedModel or app:NAME.")
@click.option(
    "--split",
    default="auto",
    show_default=True,
    metavar="CUT|auto|local|remote",
    help="Cut of the model; local and remote run the whole model on this machine or in the tail.",
)
@click.option("--earliest-cut", metavar="CUT", help="With --split auto, run at least the layers up to CUT locally.")
@tail_options("Tail that runs the layers after the cut", "local")
@click.option(
    "--codec",
    type=CodecName("auto", images=True),
    help="Codec of the boundary, or auto, which calibrates the smallest. With --split remote also codecs of images.  "
    "[default: fp16; image with --split remote]",
)
@click.option(
    "--max-accuracy-drop",
    type=click.FloatRange(0, 100),
    metavar="POINTS",
    help="Limit for --codec auto: points of accuracy, or % of changed predictions without labels.  [default: 0.5]",
)
@click.option("--log", default="hybrid-batch-log", show_default=True, metavar="DIR|s3://…", help="Folder of the log.")
@click.option(
    "--labels",
    default="folders",
    show_default=True,
    metavar="folders|none|FILE.csv",
    help="True labels: the first folder below IMAGES, none, or a CSV file with columns image,label.",
)
@click.option("--batch-size", type=click.IntRange(1, 1024), default=32, show_default=True, help="Images in a batch.")
@click.option("--shard-size", type=click.IntRange(1), default=512, show_default=True, help="Images in a commit.")
@in_flight_option
@click.option("--run-id", help="Name of the run.  [default: a hash of bundle, images and settings]")
@runtime_option
@click.option("--json", "as_json", is_flag=True, help="Print the totals as one JSON object on stdout.")
def command(**options: object) -> None:
    """Classify the images under IMAGES (a folder or s3://…) and log every prediction exactly once.

    The first layers run on this machine and the others in the tail; only the tensors at the cut are sent. With --split
    auto and a remote tail the cut adapts to the link: it may upload whole images unless --earliest-cut is given.
    Images the tail cannot keep up with, and all images while it is unreachable, run locally.

    The same command continues a run that was interrupted, also by Ctrl-C or SIGTERM. A file that cannot be decoded is
    logged with an error.

    \b
    Example:
      hybrid-batch serve digits --port 8000 &
      hybrid-batch run ./images --split c005 --tail http://127.0.0.1:8000
    """
    from hybrid_batch.inference.tails import tail_kind

    options["in_flight"] = options["in_flight"] or tail_kind(str(options["tail"])).default_in_flight
    with _sigterm_as_ctrl_c():
        _run(RunOptions(**options))  # type: ignore[arg-type]


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Handle SIGTERM like Ctrl-C within the block, in the main thread; other threads cannot set signal handlers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(options: RunOptions) -> None:
    from hybrid_batch.inference.model.importing.resolve_model import resolve_model
    from hybrid_batch.inference.model.runtimes import open_runtime
    from hybrid_batch.inference.runner.routing import FixedRouter
    from hybrid_batch.inference.runner.runner import Concurrency, RunSpec
    from hybrid_batch.inference.runner.split import AUTO, LocalSplit, split_at
    from hybrid_batch.inference.runner.totals import Totals
    from hybrid_batch.inference.tails import open_tail, redacted_address

    bundle = resolve_model(options.model, print_note)
    _check(options)
    split = _initial_split(options, bundle)
    images = _labelled_images(options, bundle)
    runtime = open_runtime(options.runtime, bundle)
    with open_tail(options.tail, bundle, runtime, _tail_settings(options)) as tail:
        reachable = not options.is_adaptive or is_reachable(tail, print_note)
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
            print_note("This run is complete; nothing to do. (--run-id NAME starts another.)")
        else:
            if options.is_adaptive:
                spec = replace(spec, router=make_router(options, spec, print_note, reachable=reachable))
            totals = _run_shards(spec)
    _print_totals(options, spec, totals)


def _initial_split(options: RunOptions, bundle: "Bundle") -> "Split":
    """The split of a run that is not adaptive; an adaptive one starts locally, unless it sends images."""
    from hybrid_batch.inference.protocol.codecs import IMAGE_CODECS
    from hybrid_batch.inference.runner.split import AUTO, LOCAL, LocalSplit, choose_split

    codec = None if options.codec == AUTO and options.split != LOCAL else options.codec
    if options.is_adaptive and codec not in IMAGE_CODECS:
        return LocalSplit()
    split = choose_split(bundle, options.split, codec)
    if isinstance(split, LocalSplit) and not options.is_adaptive and options.tail != LOCAL:
        print_note("Note: --split local runs the whole model on this machine; --tail is not used.")
    return split


def _labelled_images(options: RunOptions, bundle: "Bundle") -> "ImageSet":
    """The images under IMAGES, with their true labels."""
    from hybrid_batch.data.images.images import ImageSet, find_images
    from hybrid_batch.data.images.labels import label_images

    found = find_images(options.images)
    labelled = label_images(found.table, options.labels, bundle.labels)
    if labelled.note:
        print_note(f"Note: {labelled.note}")
    return ImageSet(found.root, labelled.table)


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
    return TailSettings(options.in_flight, retries, options.spill, options.token_file, print_note)


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

    return make_calibrator(bundle, runtime, images, options.max_accuracy_drop, print_note)(cut).codec


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


def _print_totals(options: RunOptions, spec: "RunSpec", totals: "Totals") -> None:
    if options.as_json:
        split = spec.router.fixed_split
        cut, codec = ("auto", "auto") if options.is_adaptive or split is None else (split.name, split.codec)
        facts = {"run": spec.folder.uri, "cut": cut, "codec": codec, "accuracy": totals.accuracy}
        print_json(facts | totals.to_dict())
        return
    from hybrid_batch.inference.runner.output import print_summary

    print_summary(spec, totals)
