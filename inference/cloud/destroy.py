"""Removing a deployment, whole or half: nothing of it is left, in whatever state it was found."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from hybrid_batch.data.aws.aws_client import Api
from hybrid_batch.data.aws.poll_schedule import Patience
from hybrid_batch.data.errors import AwsRefused, StackFailed
from hybrid_batch.inference.cloud.api import function_exists
from hybrid_batch.inference.cloud.bucket import Bucket
from hybrid_batch.inference.cloud.stack import Stack, await_end, find_stack, resources, why_failed
from hybrid_batch.inference.protocol.message import is_replies_name, replies_name

_TRIES = 3  # whoever uses the tail may write into the bucket while it is emptied
_LOGS = "logs/"
_FUNCTIONS = "/aws/lambda/"  # where the logs of functions are


@dataclass(frozen=True, slots=True)
class Remains:
    """What there is of a deployment."""

    name: str
    stack: Stack | None
    resources: list[str]
    bucket: Bucket | None
    objects: int
    logs: int
    queues: list[str]
    log_groups: list[str]

    @property
    def is_nothing(self) -> bool:
        return not (self.stack or self.bucket or self.queues or self.log_groups)

    def describe(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "deployment": self.name,
            "stack": self.stack.state if self.stack else None,
            "resources": self.resources,
            "bucket": self.bucket.name if self.bucket else None,
            "objects": self.objects,
            "objects_in_logs": self.logs,
            "reply_queues": self.queues,
            "log_groups": self.log_groups,
        }


def find_remains(api: Api, name: str) -> Remains:
    """What there is in this account and region; not a bucket of this name that is no deployment's. Raises AwsRefused
    for such a stack, AwsUnreachable, StorageFailed."""
    stack = find_stack(api, name)
    if stack and not stack.is_ours:
        raise AwsRefused(f"Stack {name} is no deployment of a tail; `hybrid-batch cloud status` lists those.")
    bucket = Bucket.of(api, name)
    stands = bucket.stands() and bucket.is_ours(stack)
    names = [entry.name for entry in bucket.objects()] if stands else []
    return Remains(
        name=name,
        stack=stack,
        resources=sorted(resources(api, stack).values()) if stack else [],
        bucket=bucket if stands else None,
        objects=len(names),
        logs=sum(name.startswith(_LOGS) for name in names),
        queues=list(_reply_queues(api, name)),
        log_groups=list(_log_groups(api, name, stack)),
    )


def destroy(api: Api, name: str, patience: Patience, tell: Callable[[str], None]) -> None:
    """Remove all there is. Raises StackFailed when something stays, AwsRefused, AwsUnreachable, StorageFailed."""
    remains = find_remains(api, name)
    if remains.stack:
        _delete_stack(remains.stack, remains.bucket, api, patience, tell)
    if remains.bucket and remains.bucket.stands():
        tell(f"emptying bucket {remains.bucket.name}")
        remains.bucket.empty()
        remains.bucket.delete()
    for url in _reply_queues(api, name):
        api.ask("sqs", "delete_queue", QueueUrl=url)
    for group in _log_groups(api, name, None):  # a function that still answered makes its group anew
        api.ask("logs", "delete_log_group", logGroupName=group)


def _delete_stack(
    stack: Stack, bucket: Bucket | None, api: Api, patience: Patience, tell: Callable[[str], None]
) -> None:
    if stack.is_changing:
        stack = await_end(api, stack.id, patience, tell)
    for _ in range(_TRIES):
        if bucket and bucket.stands():
            tell(f"emptying bucket {bucket.name}")
            bucket.empty()
        api.ask("cloudformation", "delete_stack", StackName=stack.id)
        stack = await_end(api, stack.id, patience, tell)
        if stack.state == "DELETE_COMPLETE":
            return
    reason = why_failed(api, stack.id, "DELETE")
    left = ", ".join(resources(api, stack))
    raise StackFailed(f"Stack {stack.name} ended {stack.state}: {reason}; still there: {left or 'nothing'}.")


def _reply_queues(api: Api, name: str) -> Iterator[str]:
    """The URLs of queues that runs have left behind."""
    prefix = replies_name(name, "")
    for url in api.pages("sqs", "list_queues", "QueueUrls", "NextToken", QueueNamePrefix=prefix, MaxResults=1000):
        if is_replies_name(name, url.rpartition("/")[2]):
            yield url


def _log_groups(api: Api, name: str, stack: Stack | None) -> Iterator[str]:
    """Of the functions of the deployment; without its stack a function that stands is somebody else's."""
    ours = {f"{_FUNCTIONS}{function}": function for function in (name, f"{name}-authorise")}
    prefix = f"{_FUNCTIONS}{name}"
    for group in api.pages("logs", "describe_log_groups", "logGroups", "nextToken", logGroupNamePrefix=prefix):
        function = ours.get(group["logGroupName"])
        if function and (stack or not function_exists(api, function)):
            yield group["logGroupName"]
