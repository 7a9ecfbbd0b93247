"""`hybrid-batch run`: classify a folder of images, split between here and a tail, into a log."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from hybrid_batch.inference.commands.run_auto import codec_of, follow, is_away
from hybrid_batch.inference.commands.run_options import RunOptions
from hybrid_batch.inference.commands.tail_options import tail_options

if TYPE_CHECKING:
    from hybrid_batch.data.images.images import Images
    from hybrid_batch.data.log.runs import RunFolder
    from hybrid_batch.inference.model.bundle import Bundle
    from hybrid_batch.inference.model.cuts import Cut
    from hybrid_batch.inference.model.runtimes import Engine
    from hybrid_batch.inference.runner.run_identity import Claim
    from hybrid_batch.inference.runner.runner import Job
    from hybrid_batch.inference.runner.split import Split
    from hybrid_batch.inference.runner.totals import Totals
    from hybrid_batch.inference.tails.settings import TailSettings

_PICTURES = (None, "image", "jpeg90", "jpeg75")
_CODECS = ["auto", "fp32", "fp16", "int8", "q6", "q5", "q4", "q3", "q2", "image", "jpeg90", "jpeg75"]


@click.command("run", short_help="Classify a folder of images, split between here and a tail.")
@click.argument("images")
@click.option("--model", default="digits", show_default=True, help="Bundle, model file, SavedModel or app:NAME.")
@click.option("--split", default="auto", show_default=True, metavar="CUT|auto|local|remote", help="Where to cut.")
@click.option("--min-cut", metavar="CUT", help="With auto: keep at least the layers up to this cut here.")
@tail_options("Who computes the tail", "local")
@click.option(
    "--codec",
    type=click.Choice(_CODECS),
    help="How the boundary travels; auto calibrates the smallest.  [default: fp16; image with --split remote]",
)
@click.option(
    "--max-accuracy-drop",
    type=click.FloatRange(0, 100),
    metavar="POINTS",
    help="What --codec auto may cost: points of accuracy, or % of predictions changed.  [default: 0.5]",
)
@click.option("--log", default="hybrid-batch-log", show_default=True, metavar="DIR|s3://…", help="Where to log.")
@click.option(
    "--labels",
    default="folders",
    show_default=True,
    metavar="folders|none|FILE.csv",
    help="True labels: the first folder below IMAGES, none, or a CSV file with columns image,label.",
)
@click.option("--batch-size", type=click.IntRange(1, 1024), default=32, show_default=True)
@click.option("--shard-size", type=click.IntRange(1), default=512, show_default=True, help="Images a commit.")
@click.option(
    "--in-flight", type=click.IntRange(1, 64), help="Requests at once.  [default: 4; to Lambda 8, to a queue 32]"
)
@click.option("--run-id", help="Name of the run.  [default: a hash of bundle, images and settings]")
@click.option("--engine", type=click.Choice(["openvino", "tensorflow"]), default="openvino", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="The totals as one JSON object on stdout.")
def command(**options: object) -> None:
    """Classify the images under IMAGES (a folder or s3://…) and log every prediction exactly once.

    The first layers run here, the rest in the tail; only the boundary at the cut travels. With --split auto and a tail
    elsewhere the cut follows the link, what the tail has no time for stays whole here, and so does everything while
    the tail is away, from the start or later; it may upload the pictures themselves unless --min-cut keeps layers here.
    The same command continues where an earlier one stopped, be it by Ctrl-C or SIGTERM. A file that is no readable
    image becomes a record with an error.

    \b
    Example:
      hybrid-batch serve digits --port 8000 &
      hybrid-batch run ./images --split c005 --tail http://127.0.0.1:8000
    """
    from hybrid_batch.inference.tails import usual_in_flight

    options["in_flight"] = options["in_flight"] or usual_in_flight(str(options["tail"]))
    with _ended_by_sigterm():
        _run(RunOptions(**options))  # type: ignore[arg-type]


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does. In the main thread; others have no say in signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(options: RunOptions) -> None:
    from hybrid_batch.inference.model.importing.resolve_model import open_model
    from hybrid_batch.inference.model.runtimes import open_engine
    from hybrid_batch.inference.runner.runner import Job, Pace
    from hybrid_batch.inference.runner.split import AUTO
    from hybrid_batch.inference.runner.totals import Totals
    from hybrid_batch.inference.tails import open_tail, public_address

    bundle = open_model(options.model, _say)
    _refuse_contradictions(options)
    split = _split(options, bundle)
    images = _images(options, bundle)
    engine = open_engine(options.engine, bundle)
    with open_tail(options.tail, bundle, engine, _settings(options)) as tail:
        away = options.follows and is_away(tail, _say)
        if split.cut is not None and not options.follows:
            tail.check(split.cut.id)
            if options.codec == AUTO:
                split = replace(split, codec=_calibrated(options, bundle, engine, split.cut, images))
        folder, claim = _claim(options, bundle, split, images)
        pace = Pace(options.batch_size, options.in_flight)
        name = public_address(options.tail)
        job = Job(bundle, split, engine, tail, name, claim.images, folder, claim.shard_size, pace)
        if claim.is_whole(folder) and (finished := folder.totals()) is not None:
            totals = Totals.from_dict(finished)
            _say("This run is complete; nothing to do. (--run-id NAME makes another.)")
        else:
            job = replace(job, follow=follow(options, job, _say, away=away)) if options.follows else job
            totals = _do(job)
    _close(options, job, totals)


def _split(options: RunOptions, bundle: "Bundle") -> "Split":
    """Where the run is cut; a run that follows the link begins with all of it here, unless pictures are to travel."""
    from hybrid_batch.inference.protocol.codecs import PICTURE_CODECS
    from hybrid_batch.inference.runner.split import AUTO, HERE, LOCAL, choose_split

    codec = None if options.codec == AUTO and options.split != LOCAL else options.codec
    if options.follows and codec not in PICTURE_CODECS:
        return HERE
    split = choose_split(bundle, options.split, codec)
    if split.cut is None and not options.follows and options.tail != LOCAL:
        _say("Note: with --split local everything runs here; the tail is not used.")
    return split


def _images(options: RunOptions, bundle: "Bundle") -> "Images":
    """What is under IMAGES, with its true labels."""
    from hybrid_batch.data.images.images import Images, find_images
    from hybrid_batch.data.images.labels import label_images

    found = find_images(options.images)
    labelled = label_images(found.table, options.labels, bundle.labels)
    if labelled.note:
        _say(f"Note: {labelled.note}")
    return Images(found.root, labelled.table)


def _claim(options: RunOptions, bundle: "Bundle", split: "Split", images: "Images") -> tuple["RunFolder", "Claim"]:
    """The folder of the run, and what it fixes."""
    from hybrid_batch.data.log.runs import run_folder
    from hybrid_batch.data.storage.storage import open_storage
    from hybrid_batch.inference.runner.run_identity import Identity, about, claim_run
    from hybrid_batch.inference.tails import public_address

    codec = codec_of(options) if options.follows else split.codec
    identity = Identity(bundle.sha256, options.split, codec, options.engine)
    folder = run_folder(open_storage(options.log), options.run_id or identity.run_id(images.table))
    return folder, claim_run(
        folder, identity, images, options.shard_size, about(bundle, images, public_address(options.tail))
    )


def _settings(options: RunOptions) -> "TailSettings":
    from hybrid_batch.inference.tails.retry_policy import Patience
    from hybrid_batch.inference.tails.settings import TailSettings

    # A run that follows has another way: here.
    patience = Patience(connect_s=2, answer_s=10, attempts=2) if options.follows else Patience()
    return TailSettings(options.in_flight, patience, options.spill, options.token_file, _say)


def _refuse_contradictions(options: RunOptions) -> None:
    from hybrid_batch.data.errors import WrongUsage
    from hybrid_batch.inference.model.cuts import WHOLE
    from hybrid_batch.inference.tails import takes_pictures_alone

    whole = options.split in ("remote", WHOLE)
    if takes_pictures_alone(options.tail) and not (whole and options.codec in _PICTURES):
        raise WrongUsage(
            f"{options.tail} computes the whole model from the files of pictures; give it --split remote, and no "
            "--codec but image, jpeg90 or jpeg75."
        )
    if options.min_cut and not options.follows:
        raise WrongUsage("--min-cut is for --split auto with a --tail elsewhere; otherwise name the cut by --split.")
    if options.max_accuracy_drop is not None and options.codec != "auto":
        raise WrongUsage("--max-accuracy-drop is for --codec auto; a codec that is named costs what it costs.")


def _calibrated(options: RunOptions, bundle: "Bundle", engine: "Engine", cut: "Cut", images: "Images") -> str:
    """The codec that a calibration of the cut chooses."""
    from hybrid_batch.inference.planner.plan.accuracy_constraint import calibrator

    return calibrator(bundle, engine, images, options.max_accuracy_drop, _say)(cut).codec


def _do(job: "Job") -> "Totals":
    from hybrid_batch.data.errors import AwsRefused, AwsUnreachable, BadFrame, Interrupted, TailRefused, TailUnreachable
    from hybrid_batch.inference.runner.progress import Progress
    from hybrid_batch.inference.runner.runner import run_shards

    try:
        with Progress(job) as progress:
            return run_shards(job, progress.watch)
    except KeyboardInterrupt as error:
        raise Interrupted(f"Interrupted; {_stands(job)}") from error
    except (TailUnreachable, TailRefused, AwsRefused, AwsUnreachable, BadFrame) as error:
        error.args = (f"{str(error).rstrip('.')}; {_stands(job)}",)
        raise


def _stands(job: "Job") -> str:
    from hybrid_batch.data.errors import StorageFailed

    try:
        shards = f"{len(job.folder.parts())} shards are"
    except StorageFailed:  # it may be why the user interrupts
        shards = "what was committed is"
    return f"{shards} in {job.folder.uri}, the same command does the rest."


def _close(options: RunOptions, job: "Job", totals: "Totals") -> None:
    if options.as_json:
        import json

        cut, codec = ("auto", "auto") if options.follows else (job.split.name, job.split.codec)
        facts = {"run": job.folder.uri, "cut": cut, "codec": codec, "accuracy": totals.accuracy}
        click.echo(json.dumps(facts | totals.to_dict()))
        return
    from hybrid_batch.inference.runner.summary import print_closing

    print_closing(job, totals)


def _say(line: str) -> None:
    click.echo(line, err=True)
