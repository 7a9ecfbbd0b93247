"""The options that `evaluate` and `compare` share."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from hybrid_batch.jobs.engines.dispatch import ENGINES, RUNNERS

Command = TypeVar("Command", bound=Callable[..., Any])


def engine_options(command: Command) -> Command:
    """Add --engine, --runner and --by to a command."""
    options = (
        click.option(
            "--engine",
            type=click.Choice(ENGINES),
            default="inline",
            show_default=True,
            help="Run in threads, as an mrjob job, or with Spark on this machine. Every engine gives the same result, "
            "byte for byte.",
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
