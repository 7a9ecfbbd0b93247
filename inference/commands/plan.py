"""`hybrid-batch plan`: every way to divide the work with what it would do, and the one to choose."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hybrid_batch.data.terminal.numbers import figure, percent
from hybrid_batch.inference.commands.plot_file import PlotFile
from hybrid_batch.inference.commands.tail_options import tail_options

if TYPE_CHECKING:
    from rich.table import Table

    from hybrid_batch.data.images.images import Images
    from hybrid_batch.inference.model.bundle import Bundle
    from hybrid_batch.inference.planner.plan.candidates import Candidate
    from hybrid_batch.inference.planner.plan.plan import Plan, Wishes
    from hybrid_batch.inference.planner.profile.profile import Profile

_ROWS = 30
_AUTO = "auto"
_TOGETHER = "bytes", "images/s", "bound", "share", "shared", "latency", "$"
_CODECS = [_AUTO, "fp32", "fp16", "int8", "q6", "q5", "q4", "q3", "q2", "jpeg90", "jpeg75"]


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """The options of the command, whole."""

    model: str
    tail: str | None
    spill: str | None
    token_file: str | None
    images: str | None
    labels: str
    objective: str
    min_cut: str | None
    max_sent_bytes: int | None
    max_accuracy_drop: float | None
    min_rate: float | None
    codec: tuple[str, ...]
    batch_size: int
    in_flight: int
    prices: str | None
    plot: Path | None
    engine: str
    all: bool
    as_json: bool


@click.command("plan", short_help="Say where to cut a model, and why.")
@click.argument("model", default="digits")
@tail_options("The tail to divide the work with")
@click.option("--images", metavar="DIR", help="Pictures to plan for.  [default: one that is made up]")
@click.option(
    "--labels",
    default="folders",
    show_default=True,
    metavar="folders|none|FILE.csv",
    help="True labels of the pictures, for --max-accuracy-drop.",
)
@click.option(
    "--objective",
    type=click.Choice(["throughput", "latency", "bytes", "cloud-seconds", "cost"]),
    default="throughput",
    show_default=True,
)
@click.option("--min-cut", metavar="CUT", help="Keep at least the layers up to this cut here.")
@click.option("--max-sent-bytes", type=click.IntRange(0), help="Most bytes an image may send.")
@click.option(
    "--max-accuracy-drop",
    type=click.FloatRange(0, 100),
    metavar="POINTS",
    help="Only codecs that cost at most so much accuracy, measured on --images; means --codec auto.",
)
@click.option("--min-rate", type=click.FloatRange(0, min_open=True), help="Least images/s a plan must reach.")
@click.option(
    "--codec", multiple=True, type=click.Choice(_CODECS), help="Codecs to consider; auto calibrates.  [default: fp16]"
)
@click.option("--batch-size", type=click.IntRange(1, 1024), default=32, show_default=True, help="The largest.")
@click.option(
    "--in-flight", type=click.IntRange(1, 64), help="Requests at once.  [default: 4; to Lambda 8, to a queue 32]"
)
@click.option("--prices", metavar="FILE", help="What the cloud takes, a TOML table.  [default: AWS Lambda]")
@click.option("--plot", type=PlotFile(), help="Draw the stages of every cut (png, svg, pdf).")
@click.option("--engine", type=click.Choice(["openvino", "tensorflow"]), default="openvino", show_default=True)
@click.option("--all", is_flag=True, help="Print every candidate within the constraints, not the best 30.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def command(**options: object) -> None:
    """Say where to cut MODEL for --tail: every candidate with its predicted times, bytes, rate and cost, best first.

    Candidates are every cut with every codec and batch size, everything here, and uploading the pictures themselves.
    Throughput is that of the slowest stage, latency the sum of all. With --max-accuracy-drop the cuts that come first
    are calibrated, until one of which the drop was measured is the best.

    \b
    Example:
      hybrid-batch plan digits --tail http://127.0.0.1:8000 --objective latency
    """
    from hybrid_batch.inference.tails import usual_in_flight

    options["in_flight"] = options["in_flight"] or usual_in_flight(str(options["tail"]))
    _plan(PlanOptions(**options))  # type: ignore[arg-type]


def _plan(options: PlanOptions) -> None:
    from contextlib import nullcontext

    from hybrid_batch.inference.model.importing.resolve_model import open_model
    from hybrid_batch.inference.model.runtimes import open_engine
    from hybrid_batch.inference.planner.plan.accuracy_constraint import calibrator, limit_wishes
    from hybrid_batch.inference.planner.plan.plan import make_plan
    from hybrid_batch.inference.planner.plan.prices import TABLE, read_prices
    from hybrid_batch.inference.planner.profile.profile_store import open_profile
    from hybrid_batch.inference.planner.profile.target import Subject
    from hybrid_batch.inference.tails import measuring_patience, open_tail, public_address
    from hybrid_batch.inference.tails.settings import TailSettings

    limited = _is_limited(options)
    bundle = open_model(options.model, _say)
    prices = read_prices(Path(options.prices) if options.prices else TABLE)
    wishes = _wishes(options, bundle, limited=limited)
    engine = open_engine(options.engine, bundle)
    images = _find_images(options, bundle)
    patience = measuring_patience(options.tail or "")
    settings = TailSettings(options.in_flight, patience, options.spill, options.token_file, _say)
    with open_tail(options.tail, bundle, engine, settings) if options.tail else nullcontext() as tail:
        subject = Subject(bundle, engine, tail, public_address(options.tail or ""), options.batch_size, images)
        profile = open_profile(subject, _say)
    if limited and images is not None and profile.tail is not None:
        calibrate = calibrator(bundle, engine, images, options.max_accuracy_drop, _say)
        wishes = limit_wishes(bundle, profile, wishes, [profile.tail.link], calibrate)
    plan = make_plan(bundle, profile, wishes, prices)
    if options.plot:
        from hybrid_batch.inference.planner.plan.plot import draw_plan

        draw_plan(plan, options.plot)
    if options.as_json:
        click.echo(_to_json(plan, profile, wishes))
    else:
        _print(plan, profile, options)


def _wishes(options: PlanOptions, bundle: "Bundle", *, limited: bool) -> "Wishes":
    from hybrid_batch.inference.planner.plan.accuracy_constraint import LOSSLESS
    from hybrid_batch.inference.planner.plan.plan import Wishes

    return Wishes(
        objective=options.objective,
        min_cut=bundle.cut(options.min_cut).id if options.min_cut else None,
        max_sent_bytes=options.max_sent_bytes,
        min_rate=options.min_rate,
        codecs=LOSSLESS if limited else options.codec or ("fp16",),
        in_flight=options.in_flight,
    )


def _find_images(options: PlanOptions, bundle: "Bundle") -> "Images | None":
    from hybrid_batch.data.images.images import Images, find_images
    from hybrid_batch.data.images.labels import label_images

    if options.images is None:
        return None
    found = find_images(options.images)
    labelled = label_images(found.table, options.labels, bundle.labels)
    if labelled.note:
        _say(f"Note: {labelled.note}")
    return Images(found.root, labelled.table)


def _is_limited(options: PlanOptions) -> bool:
    """Whether codecs must be calibrated. Raises WrongUsage for what contradicts that."""
    from hybrid_batch.data.errors import WrongUsage

    if options.max_accuracy_drop is None and _AUTO not in options.codec:
        return False
    if named := [codec for codec in options.codec if codec != _AUTO]:
        raise WrongUsage(f"With --max-accuracy-drop and --codec auto codecs are found; leave out {', '.join(named)}.")
    if options.images is None:
        raise WrongUsage("What a codec costs in accuracy is measured on pictures; give some of yours: --images DIR.")
    return True


def _say(line: str) -> None:
    click.echo(line, err=True)


def _to_json(plan: "Plan", profile: "Profile", wishes: "Wishes") -> str:
    import json
    from dataclasses import asdict

    choice = wishes.choices.get(plan.chosen.split.name)
    allowed = set(map(id, plan.allowed))
    facts = {
        "chosen": _row(plan.chosen),
        "why": plan.why,
        "drop": asdict(choice.drop) if choice is not None and choice.codec == plan.chosen.codec else None,
        "head_error": profile.error,
        "candidates": [_row(one) | {"allowed": id(one) in allowed} for one in plan.candidates],
    }
    return json.dumps(facts)


def _row(candidate: "Candidate") -> dict[str, Any]:
    from dataclasses import asdict

    values = asdict(candidate)
    del values["cut"]
    return {"cut": candidate.split.name, "name": candidate.name} | values


def _print(plan: "Plan", profile: "Profile", options: PlanOptions) -> None:
    from hybrid_batch.data.terminal.console import open_console
    from hybrid_batch.inference.planner.plan.plan import OBJECTIVES

    shown = sorted(plan.allowed, key=OBJECTIVES[options.objective])
    shown = shown if options.all else shown[:_ROWS]
    shown = [plan.chosen, *(one for one in shown if one is not plan.chosen)]
    open_console().print(_table(shown))
    left, out = len(plan.allowed) - len(shown), len(plan.candidates) - len(plan.allowed)
    more = f" {left} more candidates: --all." if left else ""
    more += f" {out} left out by the constraints or --codec." if out else ""
    click.echo(f"$ is for 1,000 images; heads between timed ones are told within {profile.error:.1%}.{more}")
    for note in profile.tail.notes if profile.tail else ():
        click.echo(f"Note: {note}")
    click.echo(plan.why)


def _table(shown: "list[Candidate]") -> "Table":
    """The candidates, of which the first is the plan."""
    from rich.table import Table

    from hybrid_batch.inference.planner.plan.candidates import STAGES

    table = Table(title="ms an image, best first", title_justify="left", box=None, header_style="bold")
    for heading in ("plan", "codec"):
        table.add_column(heading)
    for heading in ("batch", *STAGES, *_TOGETHER):
        table.add_column(heading, justify="right")
    for place, one in enumerate(shown):
        table.add_row(
            one.name,
            one.codec,
            str(one.batch),
            *(f"{getattr(one, stage + '_us') / 1000:.2f}" for stage in STAGES),
            f"{one.sent_bytes:,.0f}",
            figure(one.rate),
            one.bound,
            percent(one.share),
            figure(one.shared_rate),
            f"{one.latency_us / 1000:.1f}",
            f"{one.cost:.3g}",
            style=None if place else "bold",
        )
    return table
