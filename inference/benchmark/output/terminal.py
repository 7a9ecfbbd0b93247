"""A benchmark in a terminal: its progress on stderr, its result as tables on stdout."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from hybrid_batch.data.terminal.console import WideConsole, open_console
from hybrid_batch.data.terminal.numbers import format_number
from hybrid_batch.inference.benchmark.benchmark import BenchmarkResult
from hybrid_batch.inference.benchmark.latency.trial import TailRow
from hybrid_batch.inference.benchmark.load.level import LevelRow
from hybrid_batch.inference.benchmark.load.overload import OverloadResult
from hybrid_batch.inference.benchmark.percentile import Percentiles

_TAIL_HEADINGS = (
    *("cold", "p50", "p95", "p99", "local", "overhead", "tail", "sent", "received", "$"),
    "agreement",
)
_USER_HEADINGS = (
    *("images/s", "p50", "p95", "p99", "errors", "429", "waited s", "CPU ms", "MiB", "sent"),
    "received",
)
_COLD_INCLUDES = {
    "compile": "compile, compiling the tail in this process",
    "process": "process, starting the server and compiling the tail",
    "start": "start, starting an environment of Lambda",
    "running": "running, nothing (the environment of Lambda was running, so the answer was not cold)",
    "unknown": "unknown, a start or nothing (the log of Lambda reports neither)",
    "connection": "connection, a new connection (whether the tail was cold is not known)",
}


@contextmanager
def show_progress(steps: int) -> Iterator[Callable[[str], None]]:
    """A progress bar of `steps` steps for the duration of the block; call the value with a title before each step."""
    console = WideConsole(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task, started = bar.add_task("", total=steps), False

        def begin_step(title: str) -> None:
            nonlocal started
            bar.update(task, description=title, advance=1 if started else 0)
            started = True

        yield begin_step


def print_result(result: BenchmarkResult) -> None:
    """Print the tables, and the explanation of their columns."""
    console = open_console()

    def say(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    console.print(_tail_table(result))
    kinds = dict.fromkeys(kind for row in result.tails for kind in row.cold_includes.split("/"))
    say("cold is the first answer; it includes: " + "; ".join(_COLD_INCLUDES[kind] for kind in kinds) + ".")
    say("$ is per 1,000 images in single requests; for a server or worker, the price of a machine that is never idle.")
    if result.overload is not None:
        console.print()
        console.print(_user_table(result))
        for line in _error_lines(result.users):
            say(line)
        say(overload_sentence(result.overload))


def overload_sentence(result: OverloadResult) -> str:
    """The result of the overload test as one sentence."""
    return (
        f"{result.users} users at a server that admits {result.max_pending} requests: {result.refused:,} refused "
        f"(429), {result.answered:,} answered, {result.errors} errors; {result.baseline_users} users get "
        f"{format_number(result.before)} images/s before and {format_number(result.after)} afterwards."
    )


def _tail_table(result: BenchmarkResult) -> Table:
    title = f"{result.model}: one image at a time, ms"
    table = Table(title=title, title_justify="left", box=None, header_style="bold")
    for heading in ("tail", "cut", "codec"):
        table.add_column(heading, overflow="fold")
    for heading in _TAIL_HEADINGS:
        table.add_column(heading, justify="right")
    for row in result.tails:
        table.add_row(row.tail, f"{row.cut} {row.name}", row.codec, *_tail_cells(row))
    return table


def _tail_cells(row: TailRow) -> list[str]:
    return [
        f"{row.cold_ms:,.0f} {row.cold_includes}",
        *_percentile_cells(row.warm),
        *(f"{ms:.2f}" for ms in (row.local_ms, row.overhead_ms, row.compute_ms)),
        f"{row.sent_bytes:,.0f}",
        f"{row.received_bytes:,.0f}",
        f"{row.cost:.3g}",
        f"{row.agreement:.1%}",
    ]


def _user_table(result: BenchmarkResult) -> Table:
    title = "concurrent users of one server, each with one request in flight, ms"
    table = Table(title=title, title_justify="left", box=None, header_style="bold")
    table.add_column("users", justify="right")
    table.add_column("split")
    for heading in _USER_HEADINGS:
        table.add_column(heading, justify="right")
    for row in result.users:
        table.add_row(str(row.users), f"{row.cut} {row.codec}", *_user_cells(row))
    return table


def _user_cells(row: LevelRow) -> list[str]:
    return [
        format_number(row.rate),
        *_percentile_cells(row.latency),
        f"{row.failed:,}",
        f"{row.refused:,}",
        format_number(row.waited_s),
        f"{row.cpu_ms:.2f}",
        f"{row.memory_bytes / 2**20:,.0f}",
        f"{row.sent_bytes:,.0f}",
        f"{row.received_bytes:,.0f}",
    ]


def _error_lines(rows: Sequence[LevelRow]) -> Iterator[str]:
    for row in rows:
        for cause, count in row.errors.items():
            yield f"{row.users} users, {row.cut} {row.codec}: {count:,} times {cause}"


def _percentile_cells(times: Percentiles) -> list[str]:
    return [format_number(ms) for ms in (times.p50, times.p95, times.p99)]
