"""`hybrid-batch run`: classify a folder of images, split between here and a tail, into a log."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from inference.runner import Job
    from inference.totals import Totals


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options of the command, whole."""

    images: str
    model: str
    split: str
    codec: str | None
    tail: str
    log: str
    labels: str
    batch_size: int
    shard_size: int
    in_flight: int
    run_id: str | None
    engine: str
    as_json: bool


@click.command("run")
@click.argument("images")
@click.option("--model", default="digits", show_default=True, help="Bundle, model file, SavedModel or app:NAME.")
@click.option("--split", default="auto", show_default=True, metavar="CUT|auto|local|remote", help="Where to cut.")
@click.option("--tail", default="local", show_default=True, metavar="local|URL", help="Who computes the tail.")
@click.option(
    "--codec",
    type=click.Choice(["fp32", "fp16", "int8", "image"]),
    help="How the boundary travels.  [default: fp16; image with --split remote]",
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
@click.option("--in-flight", type=click.IntRange(1, 64), default=4, show_default=True, help="Requests at once.")
@click.option("--run-id", help="Name of the run.  [default: a hash of bundle, images and settings]")
@click.option("--engine", type=click.Choice(["openvino", "tensorflow"]), default="openvino", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="The totals as one JSON object on stdout.")
def command(**options: object) -> None:
    """Classify the images under IMAGES (a folder or s3://…) and log every prediction exactly once.

    The first layers run here, the rest in the tail; only the boundary at the cut travels. The same command continues
    where an earlier one stopped. A file that is no readable image becomes a record with an error.

    \b
    Example:
      hybrid-batch serve digits --port 8000 &
      hybrid-batch run ./images --split c005 --tail http://127.0.0.1:8000
    """
    _run(RunOptions(**options))  # type: ignore[arg-type]


def _run(options: RunOptions) -> None:
    from data.errors import Interrupted
    from data.images import Images, find_images
    from data.labels import label_images
    from data.runs import run_folder
    from data.storage import open_storage
    from inference.claim import Identity, about, claim_run
    from inference.engines import open_engine
    from inference.models import open_model
    from inference.progress import Progress
    from inference.runner import Job, Pace, run_shards
    from inference.split import LOCAL, choose_split
    from inference.tails import open_tail, public_address
    from inference.totals import Totals

    bundle = open_model(options.model, _say)
    split = choose_split(bundle, options.split, options.codec)
    if split.cut is None and options.tail != LOCAL:
        _say("Note: with --split local everything runs here; the tail is not used.")
    found = find_images(options.images)
    labelled = label_images(found.table, options.labels, bundle.labels)
    if labelled.note:
        _say(f"Note: {labelled.note}")
    images = Images(found.root, labelled.table)
    engine = open_engine(options.engine, bundle)
    tail_name = public_address(options.tail)
    with open_tail(options.tail, bundle, engine, options.in_flight) as tail:
        if split.cut is not None:
            tail.check(split.cut.id)
        identity = Identity(bundle.sha256, options.split, split.codec, options.engine)
        folder = run_folder(open_storage(options.log), options.run_id or identity.run_id(images.table))
        claim = claim_run(folder, identity, images, options.shard_size, about(bundle, images, tail_name))
        finished = folder.totals()
        job = Job(
            bundle,
            split,
            engine,
            tail,
            tail_name,
            claim.images,
            folder,
            claim.shard_size,
            Pace(options.batch_size, options.in_flight),
        )
        if finished is None:
            try:
                with Progress(job) as progress:
                    totals = run_shards(job, progress.watch)
            except KeyboardInterrupt as interrupt:
                raise Interrupted(
                    f"Interrupted; {len(folder.parts())} shards are in {folder.uri}, the same command does the rest."
                ) from interrupt
        else:
            totals = Totals.from_dict(finished)
            _say("This run is complete; nothing to do. (--run-id NAME makes another.)")
    _close(options, job, totals)


def _close(options: RunOptions, job: "Job", totals: "Totals") -> None:
    if options.as_json:
        import json

        facts = {"run": job.folder.uri, "cut": job.split.name, "codec": job.split.codec, "accuracy": totals.accuracy}
        click.echo(json.dumps(facts | totals.to_dict()))
        return
    from inference.closing import print_closing

    print_closing(job, totals)


def _say(line: str) -> None:
    click.echo(line, err=True)
