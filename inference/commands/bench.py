"""`hybrid-batch bench`: measure a model's tails with the user's own machine, account and images."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hybrid_batch.data.terminal.command_group import CommandGroup
from hybrid_batch.data.terminal.local_path import LocalPath
from hybrid_batch.data.terminal.messages import confirm, print_json, print_line, print_message
from hybrid_batch.inference.commands.options import ModelReference, TableChoice, auth_options, plot_option
from hybrid_batch.inference.protocol.codecs import TENSOR_CODECS

if TYPE_CHECKING:
    from hybrid_batch.inference.benchmark.benchmark import BenchmarkResult, BenchmarkSpec
    from hybrid_batch.inference.benchmark.cost import Bill

_MAX_USERS = 500
_DEFAULT_USERS = "1,10,50,100,200,500"


class Target(click.ParamType):  # type: ignore[type-arg]
    """The address of a tail, or `serve`."""

    name = "ADDRESS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ANN401
        """Return the address. Raises WrongUsage if no kind of tail has such an address."""
        from hybrid_batch.inference.benchmark.latency.target import check_target

        return check_target(str(value))


class UserCounts(click.ParamType):  # type: ignore[type-arg]
    """Numbers of users, separated by commas, or `none`."""

    name = "N,…"

    def convert(
        self, value: str | tuple[int, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Return the distinct numbers in their order; empty for `none`."""
        if isinstance(value, tuple):
            return value
        words = [] if value == "none" else [word.strip() for word in value.split(",")]
        for word in words:
            if not (word.isascii() and word.isdigit() and 1 <= int(word) <= _MAX_USERS):
                self.fail(f"{word!r} is not a number from 1 to {_MAX_USERS}; write for example 1,10,100.", param, ctx)
        return tuple(dict.fromkeys(int(word) for word in words))


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """The options of `bench tails`."""

    model: str
    images: str
    tail: tuple[str, ...]
    cut: tuple[str, ...]
    codec: str
    users: tuple[int, ...]
    requests: int
    seconds: float
    rounds: int
    max_pending: int
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
    cls=CommandGroup,
    short_help="Measure and compare a model's tails.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
def command() -> None:
    """Measure and compare a model's tails: on this machine, on servers and in the cloud; for one user and for hundreds.

    \b
    Example:
      hybrid-batch bench tails digits ./images
    """


@command.command("tails", short_help="Measure latency, throughput and cost of tails.")
@click.argument("model", type=ModelReference())
@click.argument("images")
@click.option(
    "--tail",
    multiple=True,
    type=Target(),
    help="Tail to measure: local, serve (a server that the command starts), http(s)://…, lambda:NAME, sqs:QUEUE or "
    "s3-trigger:s3://BUCKET/PREFIX. Repeatable.  [default: local, serve]",
)
@click.option(
    "--cut",
    multiple=True,
    metavar="CUT",
    help="Cut to measure; c000 uploads the images. Repeatable.  [default: c000, the last cut, some small cuts between]",
)
@click.option(
    "--codec", type=TableChoice(TENSOR_CODECS), default="fp16", show_default=True, help="Codec of the boundaries."
)
@click.option(
    "--users",
    type=UserCounts(),
    default=_DEFAULT_USERS,
    show_default=True,
    help="Numbers of concurrent users of a local server, or none.",
)
@click.option(
    "--requests", type=click.IntRange(1), default=200, show_default=True, help="Requests to each tail in a round."
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 3600),
    default=3,
    show_default=True,
    help="Duration of the load for each number of users in a round.",
)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Rounds of all measurements.")
@click.option(
    "--max-pending", type=click.IntRange(1), default=128, show_default=True, help="Requests the local server admits."
)
@auth_options
@click.option("--prices", metavar="FILE", help="Price table (TOML).  [default: AWS in us-east-1]")
@plot_option
@click.option("-o", "--output", type=LocalPath(), metavar="FOLDER", help="Folder for tails.json and tails.png.")
@click.option("--dry-run", is_flag=True, help="Print the requests to paid tails and their cost; send nothing.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object on stdout.")
def tails(**options: object) -> None:
    """Measure tails of MODEL with IMAGES: cold and warm latency, bytes and cost, then load by concurrent users.

    First every tail answers one image at a time with every cut. Then a local server gets requests from concurrent
    users, who send uploads or boundaries: the result is throughput, latency, and the CPU and memory of the server.
    Finally the command overloads the server. It asks for confirmation before it sends requests to paid tails.

    \b
    Example:
      hybrid-batch bench tails digits ./images --users 1,50,200 --plot tails.png
      hybrid-batch bench tails digits ./images --tail local --tail lambda:hybrid-batch-digits --users none --dry-run
    """
    _bench(BenchOptions(**options))  # type: ignore[arg-type]


def _bench(options: BenchOptions) -> None:
    from hybrid_batch.inference.benchmark.benchmark import run_benchmark
    from hybrid_batch.inference.benchmark.cost import estimate_bills
    from hybrid_batch.inference.benchmark.output.terminal import print_result, show_progress

    spec = _spec(options)
    _check(options, spec)
    requests = spec.rounds * (spec.requests + 1)
    bills = estimate_bills(spec.context, spec.cases, spec.images, requests, spec.prices)
    if options.dry_run:
        _print_bills(bills, as_json=options.as_json)
        return
    for bill in bills:
        print_message(_bill_line(bill))
    confirm("Send these requests?", yes=options.yes or not bills)
    with show_progress(spec.steps) as begin_step:
        result = run_benchmark(spec, begin_step)
    _write_files(result, options)
    if options.as_json:
        print_json(result.to_dict())
    else:
        print_result(result)


def _spec(options: BenchOptions) -> "BenchmarkSpec":
    from hybrid_batch.data.images.images import find_images
    from hybrid_batch.inference.benchmark.benchmark import BenchmarkSpec
    from hybrid_batch.inference.benchmark.latency.target import SERVE, BenchmarkContext
    from hybrid_batch.inference.benchmark.splits import choose_load_split, choose_splits
    from hybrid_batch.inference.model.importing.resolve_model import resolve_model
    from hybrid_batch.inference.model.runtimes import DEFAULT_RUNTIME, open_runtime
    from hybrid_batch.inference.planner.plan.prices import DEFAULT_PRICES, read_prices
    from hybrid_batch.inference.tails import LOCAL
    from hybrid_batch.inference.tails.settings import TailSettings

    bundle = resolve_model(options.model, print_message)
    splits = choose_splits(bundle, options.cut, options.codec)
    settings = TailSettings(1, spill=options.spill, token_file=options.token_file, notify=print_message)
    return BenchmarkSpec(
        BenchmarkContext(bundle, open_runtime(DEFAULT_RUNTIME, bundle), settings),
        find_images(options.images),
        options.tail or (LOCAL, SERVE),
        splits,
        choose_load_split(bundle, splits, options.codec) if options.users else splits[0],
        options.users,
        options.requests,
        options.seconds,
        options.rounds,
        options.max_pending,
        read_prices(Path(options.prices) if options.prices else DEFAULT_PRICES),
    )


def _check(options: BenchOptions, spec: "BenchmarkSpec") -> None:
    """Raise WrongUsage for errors that would otherwise appear after minutes of measurements."""
    from hybrid_batch.data.errors import WrongUsage

    measured = {tail for tail, _ in spec.cases}
    if idle := [tail for tail in spec.tails if tail not in measured]:
        raise WrongUsage(f"{idle[0]} accepts only images, and no --cut uploads them; add --cut c000.")
    if options.output and not options.dry_run:
        try:
            options.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WrongUsage(f"Cannot write to {options.output} ({error}); choose another folder.") from error


def _print_bills(bills: "list[Bill]", *, as_json: bool) -> None:
    if as_json:
        from dataclasses import asdict

        print_json({"paid": [asdict(bill) for bill in bills]})
        return
    for bill in bills:
        print_line(_bill_line(bill))
    if not bills:
        print_line("No requests to paid tails.")
    print_message("Nothing was done.")


def _bill_line(bill: "Bill") -> str:
    return f"{bill.tail}: {bill.requests:,} requests, about {bill.cost:.4f} USD"


def _write_files(result: "BenchmarkResult", options: BenchOptions) -> None:
    """Write the files of --plot and --output."""
    import json

    from hybrid_batch.inference.benchmark.output.plot import draw_result

    if options.plot:
        draw_result(result, options.plot)
    if options.output:
        folder = options.output
        (folder / "tails.json").write_text(json.dumps(result.to_dict(), indent=1) + "\n", encoding="utf-8")
        draw_result(result, folder / "tails.png")
