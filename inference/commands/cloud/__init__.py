"""`hybrid-batch cloud`: deploy the tails of a model to AWS."""

import click

from hybrid_batch.data.terminal.command_group import CommandGroup
from hybrid_batch.inference.commands.cloud.deploy import deploy
from hybrid_batch.inference.commands.cloud.destroy import destroy
from hybrid_batch.inference.commands.cloud.package import package
from hybrid_batch.inference.commands.cloud.status import status


@click.group(
    "cloud",
    cls=CommandGroup,
    short_help="Deploy a model's tails to AWS.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
def command() -> None:
    """Deploy a model's tails to AWS: as a Lambda function, and as workers of a queue.

    \b
    Example:
      hybrid-batch cloud deploy digits
    """


for subcommand in (deploy, status, destroy, package):
    command.add_command(subcommand)
