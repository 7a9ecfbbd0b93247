"""`hybrid-batch emr`: evaluate runs on Amazon EMR."""

import click

from hybrid_batch.data.terminal.command_group import CommandGroup
from hybrid_batch.emr.commands.jobs import cancel, fetch, logs, status
from hybrid_batch.emr.commands.package import package
from hybrid_batch.emr.commands.submit import submit


@click.group(
    "emr",
    cls=CommandGroup,
    short_help="Evaluate runs on Amazon EMR.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
def command() -> None:
    """Evaluate runs on Amazon EMR: on an existing cluster, on a new cluster, or on EMR Serverless.

    \b
    Example:
      hybrid-batch emr submit s3://my-bucket/logs/run=3f9c2a --create-cluster --wait
    """


for subcommand in (submit, status, logs, cancel, fetch, package):
    command.add_command(subcommand)
