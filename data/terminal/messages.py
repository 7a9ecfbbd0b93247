"""Messages of commands: notes and questions on stderr, JSON on stdout."""

import json
import sys
from typing import Any

import click

from hybrid_batch.data.errors import Declined, WrongUsage


def print_message(line: str) -> None:
    """Print one line on stderr."""
    click.echo(line, err=True)


def print_note(sentence: str) -> None:
    """Print a sentence on stderr as a note."""
    print_message(f"Note: {sentence}")


def print_json(value: Any) -> None:  # noqa: ANN401
    """Print a value on stdout as one line of JSON."""
    click.echo(json.dumps(value))


def confirm(question: str, *, yes: bool) -> None:
    """Ask the user to confirm, unless `yes`. Raises Declined for a no, WrongUsage if stdin is not a terminal."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise WrongUsage("Cannot ask for confirmation because stdin is not a terminal; pass --yes or use --dry-run.")
    if not click.confirm(question, err=True):
        raise Declined("Nothing was done.")
