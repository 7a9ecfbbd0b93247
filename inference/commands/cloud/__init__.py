"""`hybrid-batch cloud`: a model's tail in the cloud of AWS."""

import click

from hybrid_batch.inference.commands.cloud.deploy import deploy
from hybrid_batch.inference.commands.cloud.destroy import destroy
from hybrid_batch.inference.commands.cloud.package import package
from hybrid_batch.inference.commands.cloud.status import status


@click.group(
    "cloud",
    short_help="Put a model's tail into the cloud of AWS.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
def command() -> None:
    """Put a model's tail into the cloud of AWS: Lambda functions, workers of a queue.

    \b
    Example:
      hybrid-batch cloud deploy digits
    """


for subcommand in (deploy, status, destroy, package):
    command.add_command(subcommand)
