"""`hybrid-batch cloud`: tails of a model on AWS."""

import click

from inference.commands.cloud.package import package


@click.group("cloud", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Tails of a model on AWS: packaged, and deployed.

    \b
    Example:
      hybrid-batch cloud package digits --target lambda-zip
    """


for subcommand in (package,):
    command.add_command(subcommand)
