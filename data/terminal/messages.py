"""Messages of commands: notes, warnings and questions on stderr, JSON and lines on stdout.

Control characters and line feeds are escaped, because a message may quote a name or an error of others. `-q` and `-v`
set how many messages a command prints; results and errors are always printed."""

import json
import sys
from enum import IntEnum
from typing import Any

import click

from hybrid_batch.data.errors import Declined, WrongUsage
from hybrid_batch.data.terminal.escapes import escape_controls, escape_json, escape_line, escape_title


class Verbosity(IntEnum):
    """How much a command prints on stderr."""

    QUIET = 0
    NORMAL = 1
    VERBOSE = 2


_verbosity = Verbosity.NORMAL


def set_verbosity(verbosity: Verbosity) -> None:
    """Set how much this process prints on stderr."""
    global _verbosity  # noqa: PLW0603 - one command line, one verbosity
    _verbosity = verbosity


def is_quiet() -> bool:
    """Whether messages, notes and progress bars are suppressed."""
    return _verbosity is Verbosity.QUIET


def is_verbose() -> bool:
    """Whether details are requested."""
    return _verbosity is Verbosity.VERBOSE


def print_message(line: str) -> None:
    """Print one line on stderr, unless quiet."""
    if not is_quiet():
        click.echo(escape_line(line), err=True)


def print_note(sentence: str) -> None:
    """Print a sentence on stderr as a note, unless quiet."""
    print_message(f"Note: {sentence}")


def print_detail(line: str) -> None:
    """Print one line on stderr if details are requested with -v."""
    if is_verbose():
        click.echo(escape_line(line), err=True)


def print_warning(sentence: str) -> None:
    """Print a sentence on stderr as a warning, also when quiet."""
    print_error(f"Warning: {sentence}")


def print_error(text: str) -> None:
    """Print one line on stderr, also when quiet."""
    click.echo(escape_line(text), err=True)


def print_line(line: str) -> None:
    """Print one line on stdout: a result, for people. Tabs stay, and line feeds at the start, as empty lines."""
    first, *cells = line.split("\t")
    click.echo("\t".join([escape_title(first), *map(escape_line, cells)]))


def print_block(text: str, *, err: bool = False) -> None:
    """Print a text of several lines on stdout or stderr, such as a script or a trace, also when quiet."""
    click.echo(escape_controls(text), err=err)


def print_json(value: Any, indent: int | None = None) -> None:  # noqa: ANN401
    """Print a value on stdout as JSON, on one line without an indent."""
    print_json_text(json.dumps(value, indent=indent))


def print_json_text(text: str) -> None:
    """Print a text of JSON in ASCII on stdout."""
    click.echo(escape_json(text))


def check_confirmation(*, yes: bool) -> None:
    """Check that a question can be answered, before work whose result the question is about. Raises WrongUsage."""
    if not yes and not (sys.stdin is not None and sys.stdin.isatty()):
        raise WrongUsage("Cannot ask for confirmation because stdin is not a terminal; pass --yes or use --dry-run.")


def ask(question: str) -> bool:
    """The answer of the user, on a terminal, to a question; no by default."""
    return click.confirm(escape_controls(question), err=True)


def confirm(question: str, *, yes: bool) -> None:
    """Ask the user to confirm, unless `yes`. Raises Declined for a no, WrongUsage if stdin is not a terminal."""
    check_confirmation(yes=yes)
    if not yes and not click.confirm(escape_controls(question), err=True):
        raise Declined("Nothing was done.")
