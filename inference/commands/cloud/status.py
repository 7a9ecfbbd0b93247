"""`hybrid-batch cloud status`: print the status of deployments."""

from typing import TYPE_CHECKING

import click

from hybrid_batch.data.terminal.messages import print_json, print_line, print_message

if TYPE_CHECKING:
    from hybrid_batch.inference.cloud.status import DeploymentStatus


@click.command("status", short_help="Print the status of deployments.")
@click.argument("name", required=False)
@click.option("--users-policy", is_flag=True, help="Print only the IAM policy for the users of NAME.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list on stdout.")
def status(name: str | None, users_policy: bool, as_json: bool) -> None:
    """Print the status of the deployment NAME, or of all in this account and region: tails, queue, workers.

    The command fails if the bucket, a function or a queue of NAME is missing, or the code of a function is not that of
    the deployed package.

    \b
    Example:
      hybrid-batch cloud status hybrid-batch-digits
      hybrid-batch cloud status hybrid-batch-digits --users-policy >policy.json
    """
    from hybrid_batch.data.errors import DeploymentFailed, WrongUsage
    from hybrid_batch.inference.cloud.deployment_spec import check_name
    from hybrid_batch.inference.cloud.stack.api import open_aws
    from hybrid_batch.inference.cloud.stack.stack import find_stack, find_stacks
    from hybrid_batch.inference.cloud.status import missing_message, read_status

    if users_policy and name is None:
        raise WrongUsage("--users-policy needs the NAME of a deployment; list all with `hybrid-batch cloud status`.")
    if name is not None:
        check_name(name)
    aws = open_aws()
    if name is None:
        stacks = list(find_stacks(aws))
    else:
        stack = find_stack(aws, name)
        if stack is None or not stack.is_ours:
            raise WrongUsage(
                f"No deployment {name!r} in {aws.region}; list all with `hybrid-batch cloud status`, or choose another "
                "region with AWS_REGION."
            )
        stacks = [stack]
    found = [read_status(aws, stack) for stack in stacks]
    if users_policy:
        print_json(found[0].describe()["users_policy"])
    elif as_json:
        print_json([one.describe() for one in found])
    else:
        for one in found:
            _print_status(one)
        if not found:
            print_message(f"No deployments in {aws.region}.")
    if name is not None and (missing := found[0].missing):
        raise DeploymentFailed(missing_message(name, missing))
    if name is not None and (changed := found[0].changed):
        raise DeploymentFailed(
            f"The code of function {' and '.join(changed)} is not that of the deployed package; "
            "deploy again to restore it."
        )


def _print_status(status: "DeploymentStatus") -> None:
    described = status.describe()
    print_line(f"{described['deployment']}  {described['state']}  bundle {(described['bundle'] or '?')[:12]}")
    for address in described["tails"].values():
        print_line(f"  tail     {address}")
    if status.messages:
        queue = status.messages
        print_line(f"  queue    {queue.waiting} waiting, {queue.in_flight} in flight, {queue.dead} dead")
    if status.reply_queues and status.reply_queues.queues:
        print_line(f"  replies  {status.reply_queues.queues} queues, {status.reply_queues.stale} of them stale")
    if status.workers:
        print_line(f"  workers  {status.workers.running} of at most {status.workers.maximum}")
    for resource in status.missing:
        print_line(f"  missing  {resource}")
    for resource in status.changed:
        print_line(f"  changed  function {resource}, whose code is not that of the deployed package")
