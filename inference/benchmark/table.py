"""The experiment's tables in a terminal."""

from collections.abc import Iterator, Sequence

from rich.table import Table

from hybrid_batch.data.terminal.console import open_console
from hybrid_batch.data.terminal.numbers import figure
from hybrid_batch.inference.benchmark.level import LevelRow
from hybrid_batch.inference.benchmark.percentile import Percentiles
from hybrid_batch.inference.benchmark.result import Result
from hybrid_batch.inference.benchmark.storm import Storm
from hybrid_batch.inference.benchmark.tail_row import TailRow

_TAILS = "cold", "p50", "p95", "p99", "here", "overhead", "tail", "sent", "received", "$", "agree"
_USERS = "images/s", "p50", "p95", "p99", "errors", "429", "waited s", "CPU ms", "MiB", "sent", "received"


def print_result(result: Result) -> None:
    """The tables, and in words what they leave out."""
    console = open_console()

    def say(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    console.print(_tails(result))
    say("cold is the first answer; it includes: " + "; ".join(_INCLUDES[kind] for kind in _kinds(result)) + ".")
    say("$ is for 1,000 images, one a request; a server or worker as a machine that is never idle.")
    if result.storm is not None:
        console.print()
        console.print(_users(result))
        for line in _errors(result.users):
            say(line)
        say(storm_words(result.storm))


def storm_words(storm: Storm) -> str:
    """What the storm showed, in a sentence."""
    return (
        f"{storm.users} users at a server that lets {storm.queue} requests in: {storm.refused:,} times told to come "
        f"later (429), {storm.answered:,} answered, {storm.errors} errors; {storm.calm_users} users have "
        f"{figure(storm.before)} images/s before and {figure(storm.after)} afterwards."
    )


_INCLUDES = {
    "compile": "compile, the tail compiled in this process",
    "process": "process, the server's start and the tail compiled",
    "start": "start, an environment that Lambda started",
    "running": "running, nothing (Lambda had the environment, so this is no cold start)",
    "untold": "untold, whatever Lambda did (its log does not say whether it started an environment)",
    "connection": "connection, a new connection (whether the tail was cold is not known)",
}


def _kinds(result: Result) -> list[str]:
    return list(dict.fromkeys(kind for row in result.tails for kind in row.first.split("/")))


def _tails(result: Result) -> Table:
    table = Table(
        title=f"{result.model}: one picture after the other, ms", title_justify="left", box=None, header_style="bold"
    )
    for heading in ("tail", "cut", "codec"):
        table.add_column(heading, overflow="fold")
    for heading in _TAILS:
        table.add_column(heading, justify="right")
    for row in result.tails:
        table.add_row(row.tail, f"{row.cut} {row.name}", row.codec, *_tail_cells(row))
    return table


def _tail_cells(row: TailRow) -> list[str]:
    return [
        f"{row.cold_ms:,.0f} {row.first}",
        *_ms(row.warm),
        *(f"{ms:.2f}" for ms in (row.here_ms, row.overhead_ms, row.compute_ms)),
        f"{row.sent_bytes:,.0f}",
        f"{row.received_bytes:,.0f}",
        f"{row.cost:.3g}",
        f"{row.agree:.1%}",
    ]


def _users(result: Result) -> Table:
    table = Table(
        title="users of one server at once, each with one request after the other, ms",
        title_justify="left",
        box=None,
        header_style="bold",
    )
    table.add_column("users", justify="right")
    table.add_column("way")
    for heading in _USERS:
        table.add_column(heading, justify="right")
    for row in result.users:
        table.add_row(str(row.users), f"{row.cut} {row.codec}", *_user_cells(row))
    return table


def _user_cells(row: LevelRow) -> list[str]:
    return [
        figure(row.rate),
        *_ms(row.latency),
        f"{row.failed:,}",
        f"{row.refused:,}",
        figure(row.waited_s),
        f"{row.cpu_ms:.2f}",
        f"{row.memory_bytes / 2**20:,.0f}",
        f"{row.sent_bytes:,.0f}",
        f"{row.received_bytes:,.0f}",
    ]


def _errors(rows: Sequence[LevelRow]) -> Iterator[str]:
    """What went wrong, and how often."""
    for row in rows:
        for cause, count in row.errors.items():
            yield f"{row.users} users, {row.cut} {row.codec}: {count:,} times {cause}"


def _ms(times: Percentiles) -> list[str]:
    return [figure(ms) for ms in (times.p50, times.p95, times.p99)]
