"""The CloudFormation stack of a deployment: how it stands, what it is told to become, and why it did not."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybrid_batch.data.aws.aws_client import Api, Call
from hybrid_batch.data.aws.poll_schedule import Patience
from hybrid_batch.data.errors import AwsRefused, AwsUnreachable, StackFailed

TEMPLATE = Path(__file__).with_name("tail.yaml")
OWN = "hybrid-batch"  # the tag of what is ours; its value is the deployment's name
UNCHANGED = "No updates are to be performed"
_GONE = "does not exist"
_NOTHING = {"CREATE_FAILED", "DELETE_COMPLETE", "DELETE_SKIPPED"}
_STAND = {"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"}


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack as CloudFormation describes it; `id` outlives its deletion."""

    name: str
    id: str
    state: str
    parameters: Mapping[str, str]
    outputs: Mapping[str, str]
    tags: Mapping[str, str]

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> "Stack":
        """From CloudFormation's description."""
        return cls(
            answer["StackName"],
            answer["StackId"],
            answer["StackStatus"],
            {one["ParameterKey"]: one["ParameterValue"] for one in answer.get("Parameters", ())},
            {one["OutputKey"]: one["OutputValue"] for one in answer.get("Outputs", ())},
            {one["Key"]: one["Value"] for one in answer.get("Tags", ())},
        )

    @property
    def stands(self) -> bool:
        """Whether all of it stands and nothing is going on."""
        return self.state in _STAND

    @property
    def is_changing(self) -> bool:
        return self.state.endswith("_IN_PROGRESS") and self.state != "REVIEW_IN_PROGRESS"

    @property
    def is_ours(self) -> bool:
        return OWN in self.tags


def find_stack(api: Api, name: str) -> Stack | None:
    """The stack of this name or id, unless there is none. Raises AwsRefused, AwsUnreachable."""
    try:
        answer = api.ask("cloudformation", "describe_stacks", StackName=name)
    except AwsRefused as error:
        if error.code == "ValidationError" and _GONE in str(error):
            return None
        raise
    # A service that takes no name for any name answers with stacks that nobody asked for.
    found = map(Stack.of, answer["Stacks"])
    return next((stack for stack in found if name in (stack.name, stack.id)), None)


def find_stacks(api: Api) -> Iterator[Stack]:
    """All stacks of the region that are ours."""
    for answer in api.pages("cloudformation", "describe_stacks", "Stacks", "NextToken"):
        if (stack := Stack.of(answer)).is_ours:
            yield stack


def stack_call(operation: str, name: str, parameters: Mapping[str, str | None]) -> Call:
    """The request that creates or updates the stack; a parameter that is None stays as it is."""
    given = [
        {"ParameterKey": key, "UsePreviousValue": True}
        if value is None
        else {"ParameterKey": key, "ParameterValue": value}
        for key, value in parameters.items()
    ]
    request: dict[str, Any] = {
        "StackName": name,
        "TemplateBody": TEMPLATE.read_text(encoding="utf-8"),
        "Parameters": given,
        "Capabilities": ["CAPABILITY_IAM"],
        "Tags": [{"Key": OWN, "Value": name}],
    }
    if operation == "create_stack":
        request["OnFailure"] = "DELETE"
    return Call("cloudformation", operation, request)


def await_end(api: Api, stack_id: str, patience: Patience, tell: Callable[[str], None]) -> Stack:
    """The stack once nothing goes on with it any more; `tell` hears each state it is in. Raises StackFailed
    when that takes too long, AwsRefused.

    A question that is not answered is asked again until the time is over."""
    end = time.monotonic() + patience.timeout_s
    stack, told = None, ""
    for pause in patience.pauses():
        try:
            stack = find_stack(api, stack_id)
        except AwsUnreachable:
            stack = None
        if stack and stack.state != told:
            tell(told := stack.state)
        if stack and not stack.is_changing:
            return stack
        if time.monotonic() + pause > end:
            break
        time.sleep(pause)
    seen = f"its last known state is {told}" if told else "CloudFormation does not say how it stands"
    raise StackFailed(
        f"Stack {stack_id.split('/')[1]} is not done after {patience.timeout_s:g} s ({seen}) and goes on; look with "
        "`hybrid-batch cloud status`."
    )


def why_failed(api: Api, stack_id: str, verb: str) -> str:
    """The first failure since the stack was last told to CREATE, UPDATE or DELETE: which resource, and AWS's reason."""
    first = ""
    for event in api.pages("cloudformation", "describe_stack_events", "StackEvents", "NextToken", StackName=stack_id):
        status, reason = event["ResourceStatus"], " ".join(event.get("ResourceStatusReason", "").split()).rstrip(".")
        if event.get("PhysicalResourceId") == stack_id:
            if status == f"{verb}_IN_PROGRESS":  # the newest comes first, and this is where it began
                break
        elif status.endswith("_FAILED") and "cancelled" not in reason:
            first = f"{event['LogicalResourceId']} ({event['ResourceType']}) {status}: {reason or 'no reason told'}"
    return first or "AWS tells no reason"


def resources(api: Api, stack: Stack) -> dict[str, str]:
    """What stands of a stack: by its name in AWS, its name in the template."""
    answer = api.ask("cloudformation", "describe_stack_resources", StackName=stack.id)
    return {
        one["PhysicalResourceId"]: one["LogicalResourceId"]
        for one in answer["StackResources"]
        if one.get("PhysicalResourceId") and one["ResourceStatus"] not in _NOTHING
    }
