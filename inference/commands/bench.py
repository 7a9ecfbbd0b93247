"""`hybrid-batch bench`: experiments with a model's tails on the user's own machine, account and pictures."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hybrid_batch.data.terminal.local_path import LocalPath
from hybrid_batch.inference.commands.plot_file import PlotFile
from hybrid_batch.inference.commands.tail_options import access_options

if TYPE_CHECKING:
    from hybrid_batch.inference.benchmark.bill import Bill
    from hybrid_batch.inference.benchmark.experiment import Experiment
    from hybrid_batch.inference.benchmark.result import Result

_MOST_USERS = 500
_DEFAULT_USERS = "1,10,50,100,200,500"
_CODECS = ["fp32", "fp16", "int8", "q6", "q5", "q4", "q3", "q2"]


class Site(click.ParamType):  # type: ignore[type-arg]
    """The address of a tail, or `serve`."""

    name = "ADDRESS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ANN401
        """See click.ParamType. Raises WrongUsage."""
        from hybrid_batch.inference.benchmark.site import check_site

        return check_site(str(value))


class Users(click.ParamType):  # type: ignore[type-arg]
    """Numbers of users, separated by commas, or `none`."""

    name = "N,…"

    def convert(
        self, value: str | tuple[int, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """See click.ParamType."""
        if isinstance(value, tuple):
            return value
        words = [] if value == "none" else [word.strip() for word in value.split(",")]
        for word in words:
            if not (word.isascii() and word.isdigit() and 1 <= int(word) <= _MOST_USERS):
                self.fail(f"{word!r} is no number of users from 1 to {_MOST_USERS}; give such as 1,10,100.", param, ctx)
        return tuple(dict.fromkeys(int(word) for word in words))


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """The options of the command, whole."""

    model: str
    images: str
    tail: tuple[str, ...]
    cut: tuple[str, ...]
    codec: str
    users: tuple[int, ...]
    requests: int
    seconds: float
    rounds: int
    queue: int
    spill: str | None
    token_file: str | None
    prices: str | None
    plot: Path | None
    output: Path | None
    dry_run: bool
    yes: bool
    as_json: bool


@click.group(
    "bench",
    short_help="Measure a model's tails against each other.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
def command() -> None:
    """Measure a model's tails: on this machine, on servers, in the cloud, for one user and for hundreds.

    \b
    Example:
      hybrid-batch bench tails digits ./images
    """


@command.command("tails", short_help="Measure a model's tails with some images.")
@click.argument("model")
@click.argument("images")
@click.option(
    "--tail",
    multiple=True,
    type=Site(),
    help="Tails to measure: local, serve (a server started here), http(s)://…, lambda:NAME, sqs:QUEUE, "
    "s3-trigger:s3://BUCKET/PREFIX.  [default: local, serve]",
)
@click.option(
    "--cut",
    multiple=True,
    metavar="CUT",
    help="Cuts to measure; c000 uploads the pictures.  [default: c000, the last, and some small ones between]",
)
@click.option("--codec", type=click.Choice(_CODECS), default="fp16", show_default=True, help="How boundaries travel.")
@click.option(
    "--users",
    type=Users(),
    default=_DEFAULT_USERS,
    show_default=True,
    help="How many at once ask a server here; or none.",
)
@click.option(
    "--requests", type=click.IntRange(1), default=200, show_default=True, help="Pictures in a turn of a tail."
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 3600),
    default=3,
    show_default=True,
    help="How long users ask in a turn of theirs.",
)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Turns of everything.")
@click.option(
    "--queue", type=click.IntRange(1), default=128, show_default=True, help="Requests the server here lets in at once."
)
@access_options
@click.option("--prices", metavar="FILE", help="What the cloud takes, a TOML table.  [default: us-east-1]")
@click.option("--plot", type=PlotFile(), help="Draw the result (png, svg, pdf).")
@click.option(
    "-o",
    "--output",
    type=LocalPath(),
    metavar="FOLDER",
    help="Save the result there as tails.json and tails.png.",
)
@click.option(
    "--dry-run", is_flag=True, help="Print what would be sent to paid tails and what that costs; send nothing."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="The result as one JSON object on stdout.")
def tails(**options: object) -> None:
    """Measure the tails of MODEL with some of IMAGES: first answers, warm ones, bytes, cost; then users by the hundred.

    Each tail has its turn with each cut, one picture after the other. Then a server on this machine has many users at
    once, who upload pictures or send what a cut makes of them, each kind in turn: rate, latencies, the server's CPU,
    memory and bytes. At last more come than it lets in. Tails that cost money are asked for before.

    \b
    Example:
      hybrid-batch bench tails digits ./images --users 1,50,200 --plot tails.png
      hybrid-batch bench tails digits ./images --tail local --tail lambda:hybrid-batch-digits --users none --dry-run
    """
    _bench(BenchOptions(**options))  # type: ignore[arg-type]


def _bench(options: BenchOptions) -> None:
    from hybrid_batch.inference.benchmark.bill import estimate_bills
    from hybrid_batch.inference.benchmark.experiment import run_experiment
    from hybrid_batch.inference.benchmark.progress import show_turns

    experiment = _experiment(options)
    _check(options, experiment)
    bills = estimate_bills(experiment)
    if options.dry_run:
        _show_bills(bills, as_json=options.as_json)
        return
    _confirm(bills, sure=options.yes)
    with show_turns(experiment.turns) as step:
        result = run_experiment(experiment, step)
    _save(result, options)
    if options.as_json:
        import json

        click.echo(json.dumps(result.to_dict()))
    else:
        from hybrid_batch.inference.benchmark.table import print_result

        print_result(result)


def _experiment(options: BenchOptions) -> "Experiment":
    from hybrid_batch.data.images.images import find_images
    from hybrid_batch.inference.benchmark.experiment import Experiment
    from hybrid_batch.inference.benchmark.site import SERVE, Kit
    from hybrid_batch.inference.benchmark.way import choose_split_way, choose_ways
    from hybrid_batch.inference.model.importing.resolve_model import open_model
    from hybrid_batch.inference.model.runtimes import open_engine
    from hybrid_batch.inference.planner.plan.prices import TABLE, read_prices
    from hybrid_batch.inference.tails import LOCAL
    from hybrid_batch.inference.tails.settings import TailSettings

    bundle = open_model(options.model, _say)
    ways = choose_ways(bundle, options.cut, options.codec)
    settings = TailSettings(1, spill=options.spill, token_file=options.token_file, say=_say)
    return Experiment(
        Kit(bundle, open_engine("openvino", bundle), settings),
        find_images(options.images),
        options.tail or (LOCAL, SERVE),
        ways,
        choose_split_way(bundle, ways, options.codec) if options.users else ways[0],
        options.users,
        options.requests,
        options.seconds,
        options.rounds,
        options.queue,
        read_prices(Path(options.prices) if options.prices else TABLE),
    )


def _check(options: BenchOptions, experiment: "Experiment") -> None:
    """Raise WrongUsage now for what would fail after minutes of measuring."""
    from hybrid_batch.data.errors import WrongUsage

    able = {tail for tail, _ in experiment.pairs}
    if idle := [tail for tail in experiment.tails if tail not in able]:
        raise WrongUsage(f"{idle[0]} computes the whole model alone, and no --cut given is that; add --cut c000.")
    if options.output and not options.dry_run:
        try:
            options.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WrongUsage(f"Cannot write to {options.output} ({error}); give a folder.") from error


def _show_bills(bills: "list[Bill]", *, as_json: bool) -> None:
    if as_json:
        import json
        from dataclasses import asdict

        click.echo(json.dumps({"paid": [asdict(bill) for bill in bills]}))
        return
    for bill in bills:
        click.echo(_line(bill))
    if not bills:
        click.echo("Nothing would be sent to tails that cost money.")
    click.echo("Nothing was done.", err=True)


def _confirm(bills: "list[Bill]", *, sure: bool) -> None:
    from hybrid_batch.inference.commands.confirm import confirm

    for bill in bills:
        _say(_line(bill))
    confirm("Send these?", sure=sure or not bills)


def _line(bill: "Bill") -> str:
    return f"{bill.tail}: {bill.requests:,} pictures, about {bill.cost:.4f} USD"


def _save(result: "Result", options: BenchOptions) -> None:
    """The files that were asked for."""
    import json

    from hybrid_batch.inference.benchmark.plot import draw_result

    if options.plot:
        draw_result(result, options.plot)
    if options.output:
        folder = options.output
        (folder / "tails.json").write_text(json.dumps(result.to_dict(), indent=1) + "\n", encoding="utf-8")
        draw_result(result, folder / "tails.png")


def _say(line: str) -> None:
    click.echo(line, err=True)
