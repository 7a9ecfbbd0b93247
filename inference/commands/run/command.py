"""`hybrid-batch run`: classify a folder of images, split between this machine and a tail, and log the predictions."""

import sys
from typing import Any

import click
from click.core import ParameterSource

from hybrid_batch.data.terminal.messages import confirm, print_json, print_message
from hybrid_batch.inference.commands.options import (
    CutReference,
    ModelReference,
    TableChoice,
    in_flight_option,
    runtime_option,
    tail_options,
)
from hybrid_batch.inference.commands.run.interrupts import interruptible
from hybrid_batch.inference.commands.run.options import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_LOG,
    DEFAULT_MAX_PIXELS,
    DEFAULT_PATIENCE_S,
    DEFAULT_SHARD_SIZE,
    MAX_SHARD_SIZE,
    RunOptions,
)
from hybrid_batch.inference.protocol.codecs import IMAGE_CODECS, TENSOR_CODECS


@click.command("run", short_help="Classify images, split between this machine and a tail.")
@click.argument("images", nargs=-1, required=True)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Classify only the first N images by name.")
@click.option(
    "--model",
    type=ModelReference(),
    default="digits",
    show_default=True,
    help="Bundle, model file, SavedModel or app:NAME.",
)
@click.option(
    "--split",
    type=CutReference("auto", "local", "remote"),
    default="auto",
    show_default=True,
    metavar="CUT|auto|local|remote",
    help="Cut of the model; local and remote run the whole model on this machine or in the tail.",
)
@click.option(
    "--earliest-cut",
    type=CutReference(),
    metavar="CUT",
    help="With --split auto, run at least the layers up to CUT locally.",
)
@tail_options("Tail that runs the layers after the cut", "local")
@click.option(
    "--codec",
    type=TableChoice(["auto"], TENSOR_CODECS, IMAGE_CODECS),
    help="Codec of the boundary; auto calibrates on the images and takes the smallest within the limit. With --split "
    "remote also codecs of images.  "
    "[default: fp16; image with --split remote]",
)
@click.option(
    "--max-accuracy-drop",
    type=click.FloatRange(0, 100),
    metavar="POINTS",
    help="Limit for --codec auto: points of accuracy, or % of changed predictions without labels.  [default: 0.5]",
)
@click.option("--log", default=DEFAULT_LOG, show_default=True, metavar="DIR|s3://…", help="Folder of the log.")
@click.option(
    "--labels",
    default="folders",
    show_default=True,
    metavar="folders|none|FILE.csv",
    help="True labels: the first folder below IMAGES, none, or a CSV file with columns image,label.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(1, 1024),
    default=DEFAULT_BATCH_SIZE,
    show_default=True,
    help="Images in a batch.",
)
@click.option(
    "--shard-size",
    type=click.IntRange(1, MAX_SHARD_SIZE),
    default=DEFAULT_SHARD_SIZE,
    show_default=True,
    help="Images in one shard, the unit that is written and resumed.",
)
@click.option(
    "--max-pixels",
    type=click.IntRange(1, 1000),
    default=DEFAULT_MAX_PIXELS,
    show_default=True,
    metavar="MEGAPIXELS",
    help="Largest image that is decoded; memory and time grow with it.",
)
@in_flight_option
@click.option(
    "--patience",
    type=click.FloatRange(0),
    default=DEFAULT_PATIENCE_S,
    show_default=True,
    metavar="SECONDS",
    help="How long a run with a fixed cut tries to reach an absent tail; 0 ends it at the first failure.",
)
@click.option("--run-id", help="Name of the run.  [default: a hash of bundle, images and settings]")
@click.option("--overwrite", is_flag=True, help="Delete an existing run of the same id, and run again.")
@click.option(
    "--verify-images", is_flag=True, help="Read the classified images again, and refuse to continue if one has changed."
)
@runtime_option
@click.option("--dry-run", is_flag=True, help="Print what would be done; send and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the totals as one JSON object on stdout.")
def command(as_json: bool, dry_run: bool, **values: Any) -> None:  # noqa: ANN401 - click's
    """Classify IMAGES (a folder, s3://…, files or a glob) and log every prediction exactly once.

    The first layers run on this machine and the others in the tail; only the tensors at the cut are sent. With --split
    auto and a remote tail the cut adapts to the link: it may upload whole images unless --earliest-cut is given.
    Images the tail cannot keep up with, and all images while it is unreachable, run locally.

    The same command continues a run that was interrupted, including by Ctrl-C or SIGTERM. A file that cannot be decoded
    is logged with an error.

    \b
    Example:
      hybrid-batch serve digits --port 8000 &
      hybrid-batch run ./images --split c005 --tail http://127.0.0.1:8000
    """
    from hybrid_batch.inference.tails import tail_kind

    values["in_flight"] = values["in_flight"] or tail_kind(values["tail"]).default_in_flight
    options = RunOptions(**values)
    if click.get_current_context().get_parameter_source("model") is ParameterSource.DEFAULT:
        print_message("No --model: using the sample model digits, which classifies images of handwritten digits.")
    with interruptible():
        if dry_run:
            _print_description(options, as_json=as_json)
        else:
            _run(options, as_json=as_json)


def _run(options: RunOptions, *, as_json: bool) -> None:
    from hybrid_batch.inference.commands.run.run_images import run_images
    from hybrid_batch.inference.commands.run.summary import print_summary, summary_facts

    # A pipeline or a job of cron cannot answer; for them the option is the confirmation.
    result = run_images(options, lambda question: confirm(question, yes=not (sys.stdin and sys.stdin.isatty())))
    if as_json:
        print_json(summary_facts(result))
    else:
        print_summary(result)


def _print_description(options: RunOptions, *, as_json: bool) -> None:
    from hybrid_batch.inference.commands.run.dry_run import describe_run, print_description
    from hybrid_batch.inference.commands.run.prepared_run import prepare_run

    run = prepare_run(options)
    facts = describe_run(run)
    if as_json:
        print_json(facts)
    else:
        print_description(run, facts)
