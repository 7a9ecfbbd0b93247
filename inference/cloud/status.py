"""How deployments stand."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hybrid_batch.data.aws.aws_client import Api
from hybrid_batch.data.aws.queue import Queue
from hybrid_batch.data.errors import AwsRefused
from hybrid_batch.inference.cloud.api import exists, function_exists, is_absent
from hybrid_batch.inference.cloud.bucket import Bucket
from hybrid_batch.inference.cloud.stack import Stack
from hybrid_batch.inference.tails.sqs.reply_queues import clients

WAYS = ("Lambda", "Api", "Url", "Queue", "Trigger")  # the outputs of tail.yaml that are addresses of tails


@dataclass(frozen=True, slots=True)
class Messages:
    """Of the queue, about: those that wait, those being answered, and those that were given up."""

    waiting: int
    in_hand: int
    dead: int


@dataclass(frozen=True, slots=True)
class Clients:
    """Queues for replies to clients of the queue, and how many of them were left behind by runs that were killed."""

    queues: int
    left_behind: int


@dataclass(frozen=True, slots=True)
class Workers:
    """Machines that work, and how many there may be."""

    running: int
    most: int


@dataclass(frozen=True, slots=True)
class Status:
    """How one deployment stands."""

    stack: Stack
    messages: Messages | None
    clients: Clients | None
    workers: Workers | None
    gone: tuple[str, ...]

    def describe(self) -> dict[str, Any]:
        """As JSON."""
        stack = self.stack
        return {
            "deployment": stack.name,
            "state": stack.state,
            "bundle": stack.parameters.get("Bundle"),
            "tails": tails_of(stack),
            "spill": stack.outputs.get("Spill"),
            "users_policy": stack.outputs.get("Users"),
            "messages": _fields(self.messages, "waiting", "in_hand", "dead"),
            "clients": _fields(self.clients, "queues", "left_behind"),
            "workers": _fields(self.workers, "running", "most"),
            "gone": list(self.gone),
        }


def tails_of(stack: Stack) -> dict[str, str]:
    """The addresses for `--tail`, by the way that leads there."""
    return {way.lower(): stack.outputs[way].rstrip("/") for way in WAYS if way in stack.outputs}


def read_status(api: Api, stack: Stack) -> Status:
    """Raises AwsRefused, AwsUnreachable."""
    messages = _messages(api, stack.name) if "Queue" in stack.outputs else None
    asking = read_clients(api, stack.name) if messages else None
    workers = _workers(api, stack.name) if "Queue" in stack.outputs else None
    return Status(stack, messages, asking, workers, find_gone(api, stack))


def find_gone(api: Api, stack: Stack) -> tuple[str, ...]:
    """The buckets, functions and queues that the stack takes to be there and that somebody deleted, each as its kind
    and name; none of a stack that does not stand. Raises AwsRefused, AwsUnreachable."""
    if not stack.stands:
        return ()
    name, ways = stack.name, tails_of(stack)
    functions = [name] if "lambda" in ways else []
    if "api" in ways and stack.parameters.get("Api") == "token":
        functions.append(f"{name}-authorise")
    queues = [name, f"{name}-dead"] if "queue" in ways else []
    bucket = stack.outputs["Bucket"]
    return (
        *([] if Bucket(api, bucket, name).stands() else [f"bucket {bucket}"]),
        *(f"function {one}" for one in functions if not function_exists(api, one)),
        *(f"queue {one}" for one in queues if not exists(api, "sqs", "get_queue_url", QueueName=one)),
    )


def tell_gone(name: str, gone: tuple[str, ...]) -> str:
    """The sentence on what `find_gone` found of the deployment."""
    verb = "is" if len(gone) == 1 else "are"
    return (
        f"The {' and the '.join(gone)} of {name} {verb} gone; remove the rest with `hybrid-batch cloud destroy {name}` "
        "and deploy again."
    )


def _messages(api: Api, name: str) -> Messages | None:
    waiting, hidden = "ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"
    try:
        queue, dead = _attributes(api, name, waiting, hidden), _attributes(api, f"{name}-dead", waiting)
    except AwsRefused as error:
        if is_absent(error):  # while the stack is being deleted, or deleted by hand
            return None
        raise
    return Messages(int(queue[waiting]), int(queue[hidden]), int(dead[waiting]))


def read_clients(api: Api, name: str) -> Clients:
    """The clients of the queue of this name, of at most a hundred. Raises AwsRefused, AwsUnreachable."""
    found = [is_left for _, is_left in clients(Queue.open(name, api))]
    return Clients(len(found), sum(found))


def _attributes(api: Api, name: str, *attributes: str) -> Mapping[str, str]:
    url = api.ask("sqs", "get_queue_url", QueueName=name)["QueueUrl"]
    answer: dict[str, str] = api.ask("sqs", "get_queue_attributes", QueueUrl=url, AttributeNames=list(attributes))[
        "Attributes"
    ]
    return answer


def _workers(api: Api, name: str) -> Workers | None:
    answer = api.ask("autoscaling", "describe_auto_scaling_groups", AutoScalingGroupNames=[name])
    for group in answer["AutoScalingGroups"]:
        running = sum(one["LifecycleState"] == "InService" for one in group["Instances"])
        return Workers(running, group["MaxSize"])
    return None


def _fields(value: object, *names: str) -> dict[str, int] | None:
    return None if value is None else {name: getattr(value, name) for name in names}
