"""The IAM policy of the users of a deployment: each may use its tails, and read only what belongs to that user."""

import json
from pathlib import Path
from typing import Any

from hybrid_batch.inference.cloud.stack.stack import Stack

_DOCUMENT = Path(__file__).with_name("users.json")
# By statement, the output of the stack without which the statement is left out.
_NEEDED_OUTPUTS = {
    "InvokeTheFunction": "Lambda",
    "InvokeTheApi": "Api",
    "SendRequests": "Queue",
    "CreateOwnReplyQueues": "Queue",
    "UseOwnReplyQueues": "Queue",
}


def users_policy(stack: Stack) -> dict[str, Any]:
    """The policy of the users of this stack, for an administrator to create and attach."""
    _, _, _, region, account, _ = stack.id.split(":", 5)
    values = {"NAME": stack.name, "REGION": region, "ACCOUNT": account, "BUCKET": stack.outputs["Bucket"]}
    values["API"] = stack.outputs.get("Api", "").partition("://")[2].partition(".")[0]
    document: dict[str, Any] = _fill(json.loads(_DOCUMENT.read_text(encoding="utf-8")), values)
    document["Statement"] = [
        one for one in document["Statement"] if _NEEDED_OUTPUTS.get(one["Sid"], "Bucket") in stack.outputs
    ]
    return document


def _fill(value: Any, values: dict[str, str]) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        return {key: _fill(one, values) for key, one in value.items()}
    if isinstance(value, list):
        return [_fill(one, values) for one in value]
    for word, text in values.items():
        value = value.replace(word, text)
    return value
