"""The CloudFormation stack of a deployment: describe it, create or update it, and diagnose failures."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybrid_batch.data.aws.aws_client import AwsCall, AwsClient
from hybrid_batch.data.aws.poll_schedule import PollSchedule
from hybrid_batch.data.errors import AwsRefused, AwsUnreachable, DeploymentFailed

TEMPLATE = Path(__file__).with_name("tail.yaml")
OWNER_TAG = "hybrid-batch"  # marks resources of deployments; its value is the deployment's name
UNCHANGED = "No updates are to be performed"
_ABSENT = "does not exist"
_ABSENT_STATES = {"CREATE_FAILED", "DELETE_COMPLETE", "DELETE_SKIPPED"}
_STABLE_STATES = {"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"}


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack as described by CloudFormation; its `id` remains valid after deletion."""

    name: str
    id: str
    state: str
    parameters: Mapping[str, str]
    outputs: Mapping[str, str]
    tags: Mapping[str, str]

    @classmethod
    def from_description(cls, answer: Mapping[str, Any]) -> "Stack":
        """The stack in an item of CloudFormation's DescribeStacks."""
        return cls(
            answer["StackName"],
            answer["StackId"],
            answer["StackStatus"],
            {one["ParameterKey"]: one["ParameterValue"] for one in answer.get("Parameters", ())},
            {one["OutputKey"]: one["OutputValue"] for one in answer.get("Outputs", ())},
            {one["Key"]: one["Value"] for one in answer.get("Tags", ())},
        )

    @property
    def is_stable(self) -> bool:
        """Whether the stack is complete and no operation is in progress."""
        return self.state in _STABLE_STATES

    @property
    def is_changing(self) -> bool:
        return self.state.endswith("_IN_PROGRESS") and self.state != "REVIEW_IN_PROGRESS"

    @property
    def is_ours(self) -> bool:
        return OWNER_TAG in self.tags


def find_stack(aws: AwsClient, name: str) -> Stack | None:
    """The stack of this name or id, or None. Raises AwsRefused, AwsUnreachable."""
    try:
        answer = aws.call("cloudformation", "describe_stacks", StackName=name)
    except AwsRefused as error:
        if error.code == "ValidationError" and _ABSENT in str(error):
            return None
        raise
    # CloudFormation takes an empty name for all stacks.
    found = map(Stack.from_description, answer["Stacks"])
    return next((stack for stack in found if name in (stack.name, stack.id)), None)


def find_stacks(aws: AwsClient) -> Iterator[Stack]:
    """All stacks of deployments in the region."""
    for answer in aws.pages("cloudformation", "describe_stacks", "Stacks", "NextToken"):
        if (stack := Stack.from_description(answer)).is_ours:
            yield stack


def stack_call(operation: str, name: str, parameters: Mapping[str, str | None]) -> AwsCall:
    """The request that creates or updates the stack; parameters that are None keep their values."""
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
        "Tags": [{"Key": OWNER_TAG, "Value": name}],
    }
    if operation == "create_stack":
        request["OnFailure"] = "DELETE"
    return AwsCall("cloudformation", operation, request)


def wait_until_stable(aws: AwsClient, stack_id: str, schedule: PollSchedule, notify: Callable[[str], None]) -> Stack:
    """Wait until no operation on the stack is in progress, and return it; `notify` is called with each new state.
    Unanswered requests are repeated. Raises DeploymentFailed after the schedule's timeout, AwsRefused."""
    end = time.monotonic() + schedule.timeout_s
    stack, state = None, ""
    for pause in schedule.pauses():
        try:
            stack = find_stack(aws, stack_id)
        except AwsUnreachable:
            stack = None
        if stack and stack.state != state:
            notify(state := stack.state)
        if stack and not stack.is_changing:
            return stack
        if time.monotonic() + pause > end:
            break
        time.sleep(pause)
    last = f"its last known state is {state}" if state else "its state is not known"
    raise DeploymentFailed(
        f"Stack {stack_id.split('/')[1]} is still changing after {schedule.timeout_s:g} s ({last}) and continues to; "
        "check it with `hybrid-batch cloud status`."
    )


def failure_reason(aws: AwsClient, stack_id: str, verb: str) -> str:
    """The first failure of the last operation `verb` (CREATE, UPDATE or DELETE): the resource, and AWS's reason."""
    first = ""
    for event in aws.pages("cloudformation", "describe_stack_events", "StackEvents", "NextToken", StackName=stack_id):
        status, reason = event["ResourceStatus"], " ".join(event.get("ResourceStatusReason", "").split()).rstrip(".")
        if event.get("PhysicalResourceId") == stack_id:
            if status == f"{verb}_IN_PROGRESS":  # the newest event is first, this one began the operation
                break
        elif status.endswith("_FAILED") and "cancelled" not in reason:
            first = f"{event['LogicalResourceId']} ({event['ResourceType']}) {status}: {reason or 'no reason given'}"
    return first or "AWS gives no reason"


def resources(aws: AwsClient, stack: Stack) -> dict[str, str]:
    """The existing resources of a stack: by physical id, the name in the template."""
    answer = aws.call("cloudformation", "describe_stack_resources", StackName=stack.id)
    return {
        one["PhysicalResourceId"]: one["LogicalResourceId"]
        for one in answer["StackResources"]
        if one.get("PhysicalResourceId") and one["ResourceStatus"] not in _ABSENT_STATES
    }
