"""The part of IAM that emr/policy.json uses; that file alone decides what is allowed."""

import json
from fnmatch import fnmatchcase
from pathlib import Path

from tests.emr_double.faults import AwsError

ACCOUNT = "123456789012"
POLICY = json.loads((Path(__file__).parents[2] / "emr" / "policy.json").read_text())


class Policy:
    """Checks requests against the policy and records the used actions."""

    def __init__(self) -> None:
        self.used: set[str] = set()

    def require(self, action: str, resource: str, tags: dict[str, str] | None = None, service: str = "") -> None:
        """Raises AwsError unless a statement allows the action."""
        for statement in POLICY["Statement"]:
            actions, resources = _list(statement["Action"]), _list(statement["Resource"])
            if action not in actions or not any(fnmatchcase(resource, pattern) for pattern in resources):
                continue
            conditions = statement.get("Condition", {})
            wanted = conditions.get("StringLike", {})
            prefix = "elasticmapreduce:ResourceTag/"
            if any(name.removeprefix(prefix) not in (tags or {}) for name in wanted):
                continue
            if service and service not in _list(conditions.get("StringEquals", {}).get("iam:PassedToService", service)):
                continue
            self.used.add(action)
            return
        raise AwsError("AccessDeniedException", f"User is not authorized to perform: {action} on resource: {resource}")


def role(name: str) -> str:
    return name if name.startswith("arn:") else f"arn:aws:iam::{ACCOUNT}:role/{name}"


def _list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value
