"""`hybrid-batch cloud destroy`: a deployment removed."""

from typing import TYPE_CHECKING

import click

from hybrid_batch.inference.commands.cloud.show import show_json, tell, waiting_options, yes_option

if TYPE_CHECKING:
    from hybrid_batch.inference.cloud.destroy import Remains


@click.command("destroy", short_help="Remove a deployment with all that is in it.")
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Print what would be removed, and remove nothing.")
@yes_option
@click.option("--json", "as_json", is_flag=True, help="What there was, as one JSON object on stdout.")
@waiting_options
def destroy(name: str, *, dry_run: bool, yes: bool, as_json: bool, poll: float, wait: float) -> None:
    """Remove the deployment NAME with all that is in it, whole or half: nothing is left that costs money.

    \b
    Example:
      hybrid-batch cloud destroy hybrid-batch-digits
    """
    from hybrid_batch.data.aws.poll_schedule import Patience
    from hybrid_batch.data.errors import Interrupted
    from hybrid_batch.inference.cloud.api import open_api
    from hybrid_batch.inference.cloud.deployment_spec import check_name
    from hybrid_batch.inference.cloud.destroy import destroy as carry_out
    from hybrid_batch.inference.cloud.destroy import find_remains
    from hybrid_batch.inference.commands.confirm import confirm

    check_name(name)
    api = open_api()
    remains = find_remains(api, name)
    if remains.is_nothing:
        click.echo(f"There is nothing of {name} in {api.region}.", err=True)
    elif not (as_json and dry_run):
        _show(remains)
    if dry_run:
        click.echo("Nothing was removed.", err=True)
    elif not remains.is_nothing:
        confirm(f"Remove all this from {api.region}?", sure=yes)
        try:
            carry_out(api, name, Patience(poll, wait), tell)
        except KeyboardInterrupt:
            raise Interrupted(
                f"Interrupted: some of {name} may stand; `hybrid-batch cloud destroy {name}` removes the rest."
            ) from None
        click.echo(f"Nothing is left of {name}.", err=True)
    if as_json:
        show_json(remains.describe())


def _show(remains: "Remains") -> None:
    if remains.stack:
        click.echo(f"stack {remains.name} ({remains.stack.state}), {len(remains.resources)} resources", err=True)
    if remains.bucket:
        logs = f", {remains.logs:,} of them below logs/" if remains.logs else ""
        click.echo(f"bucket {remains.bucket.name}, {remains.objects:,} objects{logs}", err=True)
    for queue in remains.queues:
        click.echo(f"queue {queue}", err=True)
    for group in remains.log_groups:
        click.echo(f"log group {group}", err=True)
