"""`hybrid-batch cloud destroy`: delete a deployment."""

from typing import TYPE_CHECKING

import click

from hybrid_batch.data.terminal.messages import check_confirmation, confirm, print_json, print_message
from hybrid_batch.data.terminal.numbers import format_count
from hybrid_batch.inference.commands.cloud.output import print_step, waiting_options, yes_option

if TYPE_CHECKING:
    from hybrid_batch.inference.cloud.destroy import Inventory


@click.command("destroy", short_help="Delete a deployment with all its resources.")
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Print the resources; delete nothing.")
@yes_option
@click.option("--json", "as_json", is_flag=True, help="Print the resources as one JSON object on stdout.")
@waiting_options
def destroy(name: str, *, dry_run: bool, yes: bool, as_json: bool, poll_interval: float, wait_timeout: float) -> None:
    """Delete the deployment NAME with all its resources, including its bucket. It need not be complete.

    \b
    Example:
      hybrid-batch cloud destroy hybrid-batch-digits
    """
    from hybrid_batch.data.aws.poll_schedule import PollSchedule
    from hybrid_batch.data.errors import Interrupted
    from hybrid_batch.inference.cloud.deployment_spec import check_name
    from hybrid_batch.inference.cloud.destroy import delete_deployment, take_inventory
    from hybrid_batch.inference.cloud.stack.api import open_aws

    check_name(name)
    check_confirmation(yes=yes or dry_run)
    aws = open_aws()
    inventory = take_inventory(aws, name)
    if inventory.is_empty:
        print_message(f"No resources of {name} exist in {aws.region}.")
    elif not (as_json and dry_run):
        _print_inventory(inventory)
    if dry_run:
        print_message("Nothing was deleted.")
    elif not inventory.is_empty:
        confirm(f"Delete these resources in {aws.region}?", yes=yes)
        try:
            delete_deployment(aws, name, PollSchedule(poll_interval, wait_timeout), print_step)
        except KeyboardInterrupt:
            raise Interrupted(
                f"Interrupted: some resources of {name} may be left; delete them with `hybrid-batch cloud destroy "
                f"{name}`."
            ) from None
        print_message(f"Deleted all resources of {name}.")
    if as_json:
        print_json(inventory.describe())


def _print_inventory(inventory: "Inventory") -> None:
    if inventory.stack:
        print_message(
            f"stack {inventory.name} ({inventory.stack.state}), {format_count(len(inventory.resources), 'resource')}"
        )
    if inventory.bucket:
        logs = f", {inventory.logs:,} of them in logs/" if inventory.logs else ""
        print_message(f"bucket {inventory.bucket.name}, {inventory.objects:,} objects{logs}")
    if inventory.access_logs:
        print_message(f"bucket {inventory.access_logs.name} of access logs")
    for queue in inventory.queues:
        print_message(f"queue {queue}")
    for group in inventory.log_groups:
        print_message(f"log group {group}")
