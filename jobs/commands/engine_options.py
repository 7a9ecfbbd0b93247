"""The options that `evaluate` and `compare` share, and the function of the selected engine."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import click

ENGINES = ("inline", "mrjob", "spark")
RUNNERS = ("inline", "local", "spark")

Command = TypeVar("Command", bound=Callable[..., Any])


def engine_options(command: Command) -> Command:
    """Add --engine, --runner and --by to a command."""
    options = (
        click.option(
            "--engine",
            type=click.Choice(ENGINES),
            default="inline",
            show_default=True,
            help="Run in threads, as an mrjob job, or with Spark on this machine. Every engine gives the same bytes.",
        ),
        click.option(
            "--runner",
            type=click.Choice(RUNNERS),
            help="mrjob's runner, for --engine mrjob: this process, processes, or Spark.  [default: inline]",
        ),
        click.option("--by", multiple=True, metavar="COLUMN", help="Slice by this column too. Repeatable."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def load_engine(job: str, engine: str, runner: str | None) -> Callable[..., Any]:
    """The function `job` (evaluate, compare) of an engine's module. Raises WrongUsage, MissingExtra."""
    from importlib import import_module

    from hybrid_batch.data.errors import WrongUsage

    if runner and engine != "mrjob":
        raise WrongUsage(f"--runner {runner} is an option of mrjob; add --engine mrjob.")
    function: Callable[..., Any] = getattr(import_module(f"hybrid_batch.jobs.{job}_{engine}"), job)
    return partial(function, runner=runner) if runner else function
