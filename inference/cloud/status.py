"""The status of deployments: stack, queue, workers, and missing resources."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hybrid_batch.data.aws.aws_client import AwsClient
from hybrid_batch.data.aws.queue import SqsQueue
from hybrid_batch.data.errors import AwsRefused
from hybrid_batch.inference.cloud.permissions.users import users_policy
from hybrid_batch.inference.cloud.stack.api import exists, function_exists, is_not_found
from hybrid_batch.inference.cloud.stack.bucket import Bucket
from hybrid_batch.inference.cloud.stack.stack import Stack
from hybrid_batch.inference.tails.sqs.reply_queues import list_queues

_ADDRESS_OUTPUTS = ("Lambda", "Api", "Url", "Queue", "Trigger")  # outputs of tail.yaml that are addresses of tails


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """Approximate numbers of messages: waiting, received by workers, and failed for good."""

    waiting: int
    in_flight: int
    dead: int


@dataclass(frozen=True, slots=True)
class ReplyQueueCount:
    """The number of reply queues of clients, and how many of them are stale because their run was killed."""

    queues: int
    stale: int


@dataclass(frozen=True, slots=True)
class WorkerCount:
    """The number of running worker instances, and its maximum."""

    running: int
    maximum: int


@dataclass(frozen=True, slots=True)
class DeploymentStatus:
    """The status of one deployment; fields of a queue are None without one."""

    stack: Stack
    messages: QueueDepth | None
    reply_queues: ReplyQueueCount | None
    workers: WorkerCount | None
    missing: tuple[str, ...]
    changed: tuple[str, ...]

    def describe(self) -> dict[str, Any]:
        """The status as JSON types."""
        stack = self.stack
        return {
            "deployment": stack.name,
            "state": stack.state,
            "bundle": stack.parameters.get("Bundle"),
            "tails": tail_addresses(stack),
            "spill": stack.outputs.get("Spill"),
            "permissions_boundary": stack.parameters.get("PermissionsBoundary") or None,
            "access_logs": stack.outputs.get("AccessLogs"),
            "messages": asdict(self.messages) if self.messages else None,
            "reply_queues": asdict(self.reply_queues) if self.reply_queues else None,
            "workers": asdict(self.workers) if self.workers else None,
            "missing": list(self.missing),
            "changed": list(self.changed),
            "users_policy": users_policy(stack) if "Bucket" in stack.outputs else None,
        }


def tail_addresses(stack: Stack) -> dict[str, str]:
    """The addresses for `--tail` by entry point."""
    return {name.lower(): stack.outputs[name].rstrip("/") for name in _ADDRESS_OUTPUTS if name in stack.outputs}


def read_status(aws: AwsClient, stack: Stack) -> DeploymentStatus:
    """Read the status of a stack. Raises AwsRefused, AwsUnreachable."""
    messages = _queue_depth(aws, stack.name) if "Queue" in stack.outputs else None
    reply_queues = count_reply_queues(aws, stack.name) if messages else None
    workers = _count_workers(aws, stack.name) if "Queue" in stack.outputs else None
    missing = find_missing(aws, stack)
    changed = () if missing else find_changed(aws, stack)
    return DeploymentStatus(stack, messages, reply_queues, workers, missing, changed)


def find_missing(aws: AwsClient, stack: Stack) -> tuple[str, ...]:
    """The buckets, functions and queues of a stable stack that were deleted outside CloudFormation, each as kind and
    name; none for a stack that is not stable. Raises AwsRefused, AwsUnreachable."""
    if not stack.is_stable:
        return ()
    name, queues = stack.name, [stack.name, f"{stack.name}-dead"] if "Queue" in stack.outputs else []
    buckets = [stack.outputs[output] for output in ("Bucket", "AccessLogs") if output in stack.outputs]
    return (
        *(f"bucket {one}" for one in buckets if not Bucket(aws, one, name).exists()),
        *(f"function {one}" for one in _functions(stack) if not function_exists(aws, one)),
        *(f"queue {one}" for one in queues if not exists(aws, "sqs", "get_queue_url", QueueName=one)),
    )


def find_changed(aws: AwsClient, stack: Stack) -> tuple[str, ...]:
    """The functions of a stable stack whose code has another hash than the package that was deployed. Raises
    AwsRefused, AwsUnreachable."""
    deployed = stack.parameters.get("CodeSha256")
    if not deployed or not stack.is_stable:
        return ()
    read = "get_function_configuration"
    return tuple(
        one for one in _functions(stack) if aws.call("lambda", read, FunctionName=one)["CodeSha256"] != deployed
    )


def _functions(stack: Stack) -> list[str]:
    """The names of the functions of a stack."""
    tails = tail_addresses(stack)
    functions = [stack.name] if "lambda" in tails else []
    if "api" in tails and stack.parameters.get("Api") == "token":
        functions.append(f"{stack.name}-authorizer")
    return functions


def missing_message(name: str, missing: tuple[str, ...]) -> str:
    """One sentence about the missing resources of a deployment."""
    verb = "is" if len(missing) == 1 else "are"
    return (
        f"The {' and the '.join(missing)} of {name} {verb} missing; delete the rest with `hybrid-batch cloud destroy "
        f"{name}` and deploy again."
    )


def count_reply_queues(aws: AwsClient, name: str) -> ReplyQueueCount:
    """Count the reply queues of the queue of this name, up to a hundred. Raises AwsRefused, AwsUnreachable."""
    stale = [is_stale for _, is_stale in list_queues(SqsQueue.open(name, aws))]
    return ReplyQueueCount(len(stale), sum(stale))


def _queue_depth(aws: AwsClient, name: str) -> QueueDepth | None:
    waiting, hidden = "ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"
    try:
        queue, dead = _attributes(aws, name, waiting, hidden), _attributes(aws, f"{name}-dead", waiting)
    except AwsRefused as error:
        if is_not_found(error):  # deleted with the stack, or outside CloudFormation
            return None
        raise
    return QueueDepth(int(queue[waiting]), int(queue[hidden]), int(dead[waiting]))


def _attributes(aws: AwsClient, name: str, *attributes: str) -> Mapping[str, str]:
    url = aws.call("sqs", "get_queue_url", QueueName=name)["QueueUrl"]
    response = aws.call("sqs", "get_queue_attributes", QueueUrl=url, AttributeNames=list(attributes))
    found: dict[str, str] = response["Attributes"]
    return found


def _count_workers(aws: AwsClient, name: str) -> WorkerCount | None:
    response = aws.call("autoscaling", "describe_auto_scaling_groups", AutoScalingGroupNames=[name])
    for group in response["AutoScalingGroups"]:
        running = sum(one["LifecycleState"] == "InService" for one in group["Instances"])
        return WorkerCount(running, group["MaxSize"])
    return None
