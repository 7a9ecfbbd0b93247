"""Options that the commands of the cloud share."""

from collections.abc import Callable

import click

from hybrid_batch.data.terminal.messages import print_message

name_option = click.option("--name", metavar="NAME", help="Name of the deployment.  [default: hybrid-batch-MODEL]")
yes_option = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


def waiting_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add `--poll-interval` and `--wait-timeout`."""
    poll = click.option(
        "--poll-interval",
        type=click.FloatRange(0.01),
        default=2,
        show_default=True,
        metavar="SECONDS",
        help="First pause between checks; pauses increase.",
    )
    wait = click.option(
        "--wait-timeout",
        type=click.FloatRange(1),
        default=900,
        show_default=True,
        metavar="SECONDS",
        help="Longest wait for AWS.",
    )
    return poll(wait(function))


def print_step(line: str) -> None:
    """Print one indented line of progress on stderr."""
    print_message(f"  {line}")
