"""What the commands of the cloud print and share."""

import json
from collections.abc import Callable
from typing import Any

import click

name_option = click.option("--name", metavar="NAME", help="Of the deployment.  [default: hybrid-batch-MODEL]")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def waiting_options(function: Callable[..., None]) -> Callable[..., None]:
    """`--poll` and `--wait`."""
    poll = click.option("--poll", type=click.FloatRange(0.01), default=2, show_default=True, help="First pause, s.")
    wait = click.option("--wait", type=click.FloatRange(1), default=900, show_default=True, help="Seconds, at most.")
    return poll(wait(function))


def show_json(value: Any) -> None:  # noqa: ANN401
    """One line of JSON."""
    click.echo(json.dumps(value))


def tell(line: str) -> None:
    """How it goes, on stderr."""
    click.echo(f"  {line}", err=True)
