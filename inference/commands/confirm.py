"""Asking before what costs money or deletes."""

import sys

import click

from hybrid_batch.data.errors import Declined, WrongUsage


def confirm(question: str, *, sure: bool) -> None:
    """Ask on the terminal, unless the user is `sure`. Raises Declined for a no, WrongUsage where nobody can be
    asked."""
    if sure:
        return
    if not sys.stdin.isatty():
        raise WrongUsage("Nobody can be asked whether to go on; give --yes, or look with --dry-run.")
    if not click.confirm(question, err=True):
        raise Declined("Nothing was done.")
