"""`hybrid-batch cloud status`: how deployments stand."""

from typing import TYPE_CHECKING

import click

from hybrid_batch.inference.commands.cloud.show import show_json

if TYPE_CHECKING:
    from hybrid_batch.inference.cloud.status import Status


@click.command("status", short_help="Say how deployments stand.")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="A JSON list on stdout.")
def status(name: str | None, as_json: bool) -> None:
    """Say how the deployment NAME stands, or all of this account and region: its tails, its queue, its workers.

    It is a failure if NAME lacks its bucket, a function or a queue, because somebody deleted that.

    \b
    Example:
      hybrid-batch cloud status hybrid-batch-digits
    """
    from hybrid_batch.data.errors import StackFailed, WrongUsage
    from hybrid_batch.inference.cloud.api import open_api
    from hybrid_batch.inference.cloud.deployment_spec import check_name
    from hybrid_batch.inference.cloud.stack import find_stack, find_stacks
    from hybrid_batch.inference.cloud.status import read_status, tell_gone

    if name is not None:
        check_name(name)
    api = open_api()
    if name is None:
        stacks = list(find_stacks(api))
    else:
        stack = find_stack(api, name)
        if stack is None or not stack.is_ours:
            raise WrongUsage(
                f"There is no deployment {name!r} in {api.region}; `hybrid-batch cloud status` lists all there, and "
                "AWS_REGION may name another region."
            )
        stacks = [stack]
    found = [read_status(api, stack) for stack in stacks]
    if as_json:
        show_json([one.describe() for one in found])
    else:
        for one in found:
            _show(one)
        if not found:
            click.echo(f"There is no deployment in {api.region}.", err=True)
    if name is not None and (gone := found[0].gone):
        raise StackFailed(tell_gone(name, gone))


def _show(status: "Status") -> None:
    told = status.describe()
    click.echo(f"{told['deployment']}  {told['state']}  bundle {(told['bundle'] or '?')[:12]}")
    for address in told["tails"].values():
        click.echo(f"  tail     {address}")
    if status.messages:
        queue = status.messages
        click.echo(f"  queue    {queue.waiting} waiting, {queue.in_hand} in hand, {queue.dead} dead")
    if status.clients and status.clients.queues:
        left = status.clients.left_behind
        click.echo(f"  replies  {status.clients.queues} queues, {left} of them left behind by runs that were killed")
    if status.workers:
        click.echo(f"  workers  {status.workers.running} of at most {status.workers.most}")
    for lost in status.gone:
        click.echo(f"  gone     {lost}")
