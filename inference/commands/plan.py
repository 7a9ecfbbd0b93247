"""`hybrid-batch plan`: predict every split of a model, and recommend one."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hybrid_batch.data.terminal.messages import print_json_text, print_line, print_message, print_note
from hybrid_batch.data.terminal.numbers import format_number, format_percent
from hybrid_batch.inference.commands.options import (
    CutReference,
    ModelReference,
    TableChoice,
    images_to_measure,
    in_flight_option,
    plot_option,
    runtime_option,
    tail_options,
)
from hybrid_batch.inference.protocol.codecs import IMAGE_CODECS, TENSOR_CODECS

if TYPE_CHECKING:
    from rich.table import Table

    from hybrid_batch.inference.model.bundle import Bundle
    from hybrid_batch.inference.planner.plan.candidates import Candidate
    from hybrid_batch.inference.planner.plan.plan import Plan, PlanRequest
    from hybrid_batch.inference.planner.profile.profile import Profile

_ROWS = 30
_AUTO = "auto"
_SUMMARY_HEADINGS = "bytes", "images/s", "bottleneck", "offload", "shared", "latency", "$"


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """The options of `plan`."""

    model: str
    tail: str | None
    spill: str | None
    token_file: str | None
    images: str | None
    labels: str
    objective: str
    earliest_cut: str | None
    max_sent_bytes: int | None
    max_accuracy_drop: float | None
    min_rate: float | None
    codec: tuple[str, ...]
    batch_size: int
    in_flight: int
    prices: str | None
    plot: Path | None
    runtime: str
    all: bool
    as_json: bool


@click.command("plan", short_help="Recommend a split of a model, with predictions.")
@click.argument("model", type=ModelReference(), default="digits")
@tail_options("Tail of the split")
@click.option("--images", metavar="DIR", help="Images to plan for.  [default: those of digits; else a made-up one]")
@click.option(
    "--labels",
    default="folders",
    show_default=True,
    metavar="folders|none|FILE.csv",
    help="True labels of the images, for --max-accuracy-drop.",
)
@click.option(
    "--objective",
    type=click.Choice(["throughput", "latency", "bytes", "cloud-seconds", "cost"]),
    default="throughput",
    show_default=True,
    help="What to optimize.",
)
@click.option("--earliest-cut", type=CutReference(), metavar="CUT", help="Run at least the layers up to CUT locally.")
@click.option("--max-sent-bytes", type=click.IntRange(0), help="Limit of bytes sent per image.")
@click.option(
    "--max-accuracy-drop",
    type=click.FloatRange(0, 100),
    metavar="POINTS",
    help="Limit of the accuracy lost to the codec, measured on --images. Implies --codec auto.",
)
@click.option("--min-rate", type=click.FloatRange(0, min_open=True), help="Required images/s.")
@click.option(
    "--codec",
    multiple=True,
    type=TableChoice([_AUTO], TENSOR_CODECS, IMAGE_CODECS, excluded=["image"]),
    help="Codec to consider; auto calibrates on the images and takes the smallest within the limit. Repeatable.  "
    "[default: fp16]",
)
@click.option("--batch-size", type=click.IntRange(1, 1024), default=32, show_default=True, help="Largest batch.")
@in_flight_option
@click.option("--prices", metavar="FILE", help="Price table (TOML).  [default: AWS in us-east-1]")
@plot_option
@runtime_option
@click.option("--all", is_flag=True, help="Print all candidates within the constraints instead of the best 30.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def command(**options: object) -> None:
    """Recommend a split of MODEL for --tail, and print the candidates with their predictions.

    Candidates are every cut with each --codec in several batch sizes, the whole model on this machine, and uploads of
    the images. The first row is the recommendation; the others are sorted by the objective. The throughput is that of
    the slowest stage, plus that of images that run locally meanwhile; the latency is the sum of all stages.

    With --max-accuracy-drop the best candidates are calibrated, one after the other, until the drop of the best one is
    measured.

    \b
    Example:
      hybrid-batch plan digits --tail http://127.0.0.1:8000 --objective latency
    """
    from hybrid_batch.inference.tails import LOCAL, tail_kind

    options["in_flight"] = options["in_flight"] or tail_kind(str(options["tail"] or LOCAL)).default_in_flight
    _plan(PlanOptions(**options))  # type: ignore[arg-type]


def _plan(options: PlanOptions) -> None:
    from contextlib import nullcontext

    from hybrid_batch.data.images.labels import find_labelled_images
    from hybrid_batch.inference.model.importing.resolve_model import resolve_model
    from hybrid_batch.inference.model.runtimes import open_runtime
    from hybrid_batch.inference.planner.plan.accuracy_constraint import NOT_CALIBRATED, constrain, make_calibrator
    from hybrid_batch.inference.planner.plan.plan import make_plan
    from hybrid_batch.inference.planner.plan.prices import DEFAULT_PRICES, read_prices
    from hybrid_batch.inference.planner.profile.profile_store import open_profile
    from hybrid_batch.inference.planner.profile.target import ProfileTarget
    from hybrid_batch.inference.tails import LOCAL, open_tail, redacted_address, tail_kind
    from hybrid_batch.inference.tails.settings import TailSettings

    bundle = resolve_model(options.model, print_message)
    folder = images_to_measure(options.images, bundle)
    calibrated = _is_calibrated(options, folder)
    prices = read_prices(Path(options.prices) if options.prices else DEFAULT_PRICES)
    request = _request(options, bundle, calibrated=calibrated)
    runtime = open_runtime(options.runtime, bundle)
    images = None
    if folder is not None:
        images = find_labelled_images(folder, options.labels, bundle.labels, print_message)
    retries = tail_kind(options.tail or LOCAL).profiling_retries
    settings = TailSettings(options.in_flight, retries, options.spill, options.token_file, print_message)
    with open_tail(options.tail, bundle, runtime, settings) if options.tail else nullcontext() as tail:
        target = ProfileTarget(bundle, runtime, tail, redacted_address(options.tail or ""), options.batch_size, images)
        profile = open_profile(target, print_message)
    if calibrated and images is not None and profile.tail is not None:
        calibrate = make_calibrator(bundle, runtime, images, options.max_accuracy_drop, print_message)
        request = constrain(bundle, profile, request, [profile.tail.link], calibrate)
        if not request.codec_choices:
            print_note(NOT_CALIBRATED)
    plan = make_plan(bundle, profile, request, prices)
    if options.plot:
        from hybrid_batch.inference.planner.plan.plot import draw_plan

        draw_plan(_shown(plan, options), options.plot, _title(bundle, profile))
    if options.as_json:
        print_json_text(_to_json(plan, bundle, profile, request))
    else:
        _print_plan(plan, profile, options)


def _request(options: PlanOptions, bundle: "Bundle", *, calibrated: bool) -> "PlanRequest":
    from hybrid_batch.inference.planner.plan.accuracy_constraint import LOSSLESS
    from hybrid_batch.inference.planner.plan.plan import PlanRequest

    return PlanRequest(
        objective=options.objective,
        earliest_cut=bundle.cut(options.earliest_cut).id if options.earliest_cut else None,
        max_sent_bytes=options.max_sent_bytes,
        min_rate=options.min_rate,
        codecs=LOSSLESS if calibrated else options.codec or ("fp16",),
        in_flight=options.in_flight,
    )


def _is_calibrated(options: PlanOptions, images: str | None) -> bool:
    """Whether codecs are calibrated. Raises WrongUsage for options that contradict this."""
    from hybrid_batch.data.errors import WrongUsage

    if options.max_accuracy_drop is None and _AUTO not in options.codec:
        return False
    if named := [codec for codec in options.codec if codec != _AUTO]:
        raise WrongUsage(
            f"--max-accuracy-drop and --codec auto calibrate codecs; leave out --codec {', '.join(named)}."
        )
    if images is None:
        raise WrongUsage("The accuracy drop of a codec is measured on images; add --images DIR.")
    return True


def _to_json(plan: "Plan", bundle: "Bundle", profile: "Profile", request: "PlanRequest") -> str:
    import json
    from dataclasses import asdict

    choice = request.codec_choices.get(plan.chosen.split.name)
    allowed = set(map(id, plan.allowed))
    facts = {
        "model": bundle.name,
        "machine": profile.device.name,
        "tail": profile.tail.address if profile.tail else None,
        "link": asdict(profile.tail.link) if profile.tail else None,
        "image_bytes": profile.images.bytes,
        "chosen": plan.chosen.to_dict(),
        "objective": plan.objective,
        "why": plan.reason,
        "unreliable": plan.unreliable and plan.unreliable.removeprefix("unreliable: "),
        "made_up_image": profile.images.made_up,
        "drop": asdict(choice.drop) if choice is not None and choice.codec == plan.chosen.codec else None,
        "head_error": profile.interpolation_error,
        "candidates": [one.to_dict() | {"allowed": id(one) in allowed} for one in plan.candidates],
    }
    return json.dumps(facts)


def _print_plan(plan: "Plan", profile: "Profile", options: PlanOptions) -> None:
    from hybrid_batch.data.terminal.console import open_console

    if plan.unreliable is not None:
        print_line(plan.unreliable)
    shown = _shown(plan, options)
    open_console().print(_table(shown))
    print_line(
        "$ is per 1,000 images; times of unmeasured heads are interpolated, with an error of up to "
        f"{profile.interpolation_error:.1%} of an image's time.{_left_out(plan, len(shown), options)}"
    )
    for note in profile.tail.notes if profile.tail else ():
        print_line(f"Note: {note}")
    print_line(plan.reason)


def _title(bundle: "Bundle", profile: "Profile") -> str:
    link = f", link of {profile.tail.link.rate_text}" if profile.tail else ""
    return f"{bundle.name} on {profile.device.name}{link}"


def _left_out(plan: "Plan", shown: int, options: PlanOptions) -> str:
    """The candidates that the table does not show, as sentences; empty if it shows all."""
    distinct = len(plan.ranking())
    counts = {
        "more with --all": distinct - shown,
        "with the figures of another cut in the table": len(plan.allowed) - distinct,
        "excluded by the constraints, by --codec, or because the image files are smaller": len(plan.candidates)
        - len(plan.allowed),
    }
    left = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    sentences = f" Candidates left out: {left}." if left else ""
    only_default = not options.codec and options.max_accuracy_drop is None and any(one.cut for one in plan.candidates)
    return sentences + (" Boundaries are planned in fp16; --codec adds other codecs." if only_default else "")


def _shown(plan: "Plan", options: PlanOptions) -> "list[Candidate]":
    """The candidates of the table and of the chart, in their order."""
    return plan.ranking() if options.all else plan.ranking()[:_ROWS]


def _table(shown: "list[Candidate]") -> "Table":
    """A table of the candidates; the first is the recommended one."""
    from rich.table import Table

    from hybrid_batch.inference.planner.plan.candidates import STAGES

    table = Table(title="ms per image, best first", title_justify="left", box=None, header_style="bold")
    for heading in ("plan", "codec"):
        table.add_column(heading)
    for heading in ("batch", *STAGES, *_SUMMARY_HEADINGS):
        table.add_column(heading, justify="right")
    for position, one in enumerate(shown):
        table.add_row(
            one.name,
            one.codec,
            str(one.batch),
            *(f"{one.times.of(stage) / 1000:.2f}" for stage in STAGES),
            f"{one.sent_bytes:,.0f}",
            format_number(one.rate),
            one.bottleneck,
            format_percent(one.offload_share),
            format_number(one.shared_rate),
            f"{one.latency_us / 1000:.1f}",
            f"{one.cost:.3g}",
            style=None if position else "bold",
        )
    return table
