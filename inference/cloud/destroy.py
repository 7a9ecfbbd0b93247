"""Deletion of a deployment with all its resources, complete or not, in any state."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from hybrid_batch.data.aws.aws_client import AwsClient
from hybrid_batch.data.aws.poll_schedule import PollSchedule
from hybrid_batch.data.errors import AwsRefused, DeploymentFailed
from hybrid_batch.inference.cloud.stack.api import function_exists
from hybrid_batch.inference.cloud.stack.bucket import Bucket
from hybrid_batch.inference.cloud.stack.stack import Stack, failure_reason, find_stack, resources, wait_until_stable
from hybrid_batch.inference.protocol.message import is_reply_queue_name, reply_queue_name

_ATTEMPTS = 3  # clients may write to the bucket while it is emptied
_LOGS = "logs/"
_FUNCTION_LOGS = "/aws/lambda/"  # the prefix of the log groups of functions


@dataclass(frozen=True, slots=True)
class Inventory:
    """The existing resources of a deployment."""

    name: str
    stack: Stack | None
    resources: list[str]
    bucket: Bucket | None
    access_logs: Bucket | None
    objects: int
    logs: int
    queues: list[str]
    log_groups: list[str]

    @property
    def is_empty(self) -> bool:
        return not (self.stack or self.bucket or self.queues or self.log_groups)

    def describe(self) -> dict[str, Any]:
        """The inventory as JSON types."""
        return {
            "deployment": self.name,
            "stack": self.stack.state if self.stack else None,
            "resources": self.resources,
            "bucket": self.bucket.name if self.bucket else None,
            "access_logs": self.access_logs.name if self.access_logs else None,
            "objects": self.objects,
            "objects_in_logs": self.logs,
            "reply_queues": self.queues,
            "log_groups": self.log_groups,
        }


def take_inventory(aws: AwsClient, name: str) -> Inventory:
    """The existing resources of the deployment in this account and region. A bucket of this name that is not of a
    deployment is left out. Raises AwsRefused for a stack that is not a deployment, AwsUnreachable, StorageFailed."""
    stack = find_stack(aws, name)
    if stack and not stack.is_ours:
        raise AwsRefused(
            f"Stack {name} is not a deployment of a tail; list all deployments with `hybrid-batch cloud status`."
        )
    bucket = Bucket.of_deployment(aws, name)
    has_bucket = bucket.exists() and bucket.is_ours(stack)
    names = [entry.name for entry in bucket.objects()] if has_bucket else []
    return Inventory(
        name=name,
        stack=stack,
        resources=sorted(resources(aws, stack).values()) if stack else [],
        bucket=bucket if has_bucket else None,
        access_logs=_access_logs(aws, stack) if stack else None,
        objects=len(names),
        logs=sum(name.startswith(_LOGS) for name in names),
        queues=list(_reply_queues(aws, name)),
        log_groups=list(_log_groups(aws, name, stack)),
    )


def delete_deployment(aws: AwsClient, name: str, schedule: PollSchedule, notify: Callable[[str], None]) -> None:
    """Delete all resources of a deployment. Raises DeploymentFailed if one is left, AwsRefused, AwsUnreachable,
    StorageFailed."""
    inventory = take_inventory(aws, name)
    if inventory.stack:
        _delete_stack(inventory.stack, inventory, aws, schedule, notify)
    if inventory.bucket and inventory.bucket.exists():
        notify(f"emptying bucket {inventory.bucket.name}")
        inventory.bucket.empty()
        inventory.bucket.delete()
    for url in _reply_queues(aws, name):
        aws.call("sqs", "delete_queue", QueueUrl=url)
    for group in _log_groups(aws, name, None):  # a function that was still running creates its group again
        aws.call("logs", "delete_log_group", logGroupName=group)


def _delete_stack(
    stack: Stack, inventory: Inventory, aws: AwsClient, schedule: PollSchedule, notify: Callable[[str], None]
) -> None:
    if stack.is_changing:
        stack = wait_until_stable(aws, stack.id, schedule, notify)
    for _ in range(_ATTEMPTS):
        if inventory.bucket and inventory.access_logs and inventory.bucket.exists():
            inventory.bucket.stop_access_logs()
        for bucket in (inventory.bucket, inventory.access_logs):
            if bucket and bucket.exists():
                notify(f"emptying bucket {bucket.name}")
                bucket.empty()
        aws.call("cloudformation", "delete_stack", StackName=stack.id)
        stack = wait_until_stable(aws, stack.id, schedule, notify)
        if stack.state == "DELETE_COMPLETE":
            return
    reason = failure_reason(aws, stack.id, "DELETE")
    left = ", ".join(resources(aws, stack))
    raise DeploymentFailed(f"Stack {stack.name} ended {stack.state}: {reason}; resources left: {left or 'none'}.")


def _access_logs(aws: AwsClient, stack: Stack) -> Bucket | None:
    """The bucket of the access logs, which CloudFormation named."""
    names = [name for name, logical in resources(aws, stack).items() if logical == "AccessLogs"]
    return Bucket(aws, names[0], stack.name) if names else None


def _reply_queues(aws: AwsClient, name: str) -> Iterator[str]:
    """The URLs of reply queues that runs did not delete."""
    prefix = reply_queue_name(name, "")
    for url in aws.pages("sqs", "list_queues", "QueueUrls", "NextToken", QueueNamePrefix=prefix, MaxResults=1000):
        if is_reply_queue_name(name, url.rpartition("/")[2]):
            yield url


def _log_groups(aws: AwsClient, name: str, stack: Stack | None) -> Iterator[str]:
    """The log groups of the deployment's functions. Without its stack, an existing function is not the deployment's."""
    groups = {f"{_FUNCTION_LOGS}{function}": function for function in (name, f"{name}-authorizer")}
    prefix = f"{_FUNCTION_LOGS}{name}"
    for group in aws.pages("logs", "describe_log_groups", "logGroups", "nextToken", logGroupNamePrefix=prefix):
        function = groups.get(group["logGroupName"])
        if function and (stack or not function_exists(aws, function)):
            yield group["logGroupName"]
