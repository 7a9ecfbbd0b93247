"""`hybrid-batch run`: classify a folder of images, split between this machine and a tail, and log the predictions."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from hybrid_batch.data.terminal.messages import print_json
from hybrid_batch.inference.commands.options import TableChoice, in_flight_option, runtime_option, tail_options
from hybrid_batch.inference.commands.run.auto_split import RunOptions
from hybrid_batch.inference.protocol.codecs import IMAGE_CODECS, TENSOR_CODECS

if TYPE_CHECKING:
    from hybrid_batch.inference.commands.run.run_images import RunResult


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
@click.option("--log", default="hybrid-batch-log", show_default=True, metavar="DIR|s3://…", help="Folder of the log.")
@click.option(
    "--labels",
    default="folders",
    show_default=True,
    metavar="folders|none|FILE.csv",
    help="True labels: the first folder below IMAGES, none, or a CSV file with columns image,label.",
)
@click.option("--batch-size", type=click.IntRange(1, 1024), default=32, show_default=True, help="Images in a batch.")
@click.option(
    "--shard-size",
    type=click.IntRange(1),
    default=512,
    show_default=True,
    help="Images in one shard, the unit that is written and resumed.",
)
@in_flight_option
@click.option("--run-id", help="Name of the run.  [default: a hash of bundle, images and settings]")
@runtime_option
@click.option("--json", "as_json", is_flag=True, help="Print the totals as one JSON object on stdout.")
def command(as_json: bool, **options: object) -> None:
    """Classify the images under IMAGES (a folder or s3://…) and log every prediction exactly once.

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
    from hybrid_batch.inference.commands.run.run_images import run_images
    from hybrid_batch.inference.tails import tail_kind

    options["in_flight"] = options["in_flight"] or tail_kind(str(options["tail"])).default_in_flight
    with _sigterm_as_ctrl_c():
        result = run_images(RunOptions(**options))  # type: ignore[arg-type]
    _print_result(result, as_json=as_json)


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


def _print_result(result: "RunResult", *, as_json: bool) -> None:
    spec, totals = result.spec, result.totals
    if as_json:
        split = spec.router.fixed_split
        cut, codec = ("auto", "auto") if result.is_adaptive or split is None else (split.name, split.codec)
        facts = {"run": spec.folder.uri, "cut": cut, "codec": codec, "accuracy": totals.accuracy}
        print_json(facts | totals.to_dict())
        return
    from hybrid_batch.inference.runner.output import print_summary

    print_summary(spec, totals)
