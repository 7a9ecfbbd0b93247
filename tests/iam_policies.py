"""Evaluates IAM policies for one account: identity policies, a permissions boundary, and policies of resources.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html: an explicit deny anywhere
decides; else an identity policy or the resource's policy must allow, and the boundary must allow as well.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conftest import ROOT

ACCOUNT = "123456789012"
Document = Mapping[str, Any]


@dataclass(frozen=True)
class Call:
    """A request to AWS: the action, the ARN of the resource, and the keys of conditions, of any case."""

    action: str
    resource: str
    context: Mapping[str, str | list[str]] = field(default_factory=dict)

    def value(self, key: str) -> list[str] | None:
        found = {name.lower(): value for name, value in self.context.items()}.get(key.lower())
        return [found] if isinstance(found, str) else found


def shipped(name: str, **words: str) -> dict[str, Any]:
    """A policy of the product, by its path, with the account's number and other words filled in."""
    text = (ROOT / name).read_text()
    for word, value in {"ACCOUNT": ACCOUNT, **words}.items():
        text = text.replace(word, value)
    document: dict[str, Any] = json.loads(text)
    return document


def is_allowed(
    call: Call,
    policies: Iterable[Document],
    boundary: Document | None = None,
    of_resource: Iterable[Document] = (),
) -> bool:
    """Whether a principal with these policies may make the call."""
    own, resource = list(policies), list(of_resource)
    everything = [*own, *resource, *([boundary] if boundary else [])]
    if any(_applies(one, call, "Deny") for one in everything):
        return False
    if boundary is not None and not _applies(boundary, call, "Allow"):
        return False
    return any(_applies(one, call, "Allow") for one in [*own, *resource])


def _applies(policy: Document, call: Call, effect: str) -> bool:
    return any(one["Effect"] == effect and _matches(one, call) for one in policy["Statement"])


def _matches(statement: Document, call: Call) -> bool:
    unknown = set(statement) - {"Sid", "Effect", "Action", "Resource", "Condition", "Principal"}
    assert not unknown, unknown
    return (
        any(_like(call.action.lower(), pattern.lower(), call) for pattern in as_list(statement["Action"]))
        and any(_like(call.resource, pattern, call) for pattern in as_list(statement["Resource"]))
        and all(_holds(*one, call) for one in statement.get("Condition", {}).items())
    )


def _holds(operator: str, keys: Mapping[str, Any], call: Call) -> bool:
    return all(_compare(operator, call.value(key), as_list(wanted), call) for key, wanted in keys.items())


def _compare(operator: str, found: list[str] | None, wanted: list[str], call: Call) -> bool:
    if operator == "Null":
        return (found is None) == (wanted == ["true"])
    every, plain = operator.startswith("ForAllValues:"), operator.removeprefix("ForAllValues:")
    if found is None:
        return every or plain.endswith("IfExists")
    match plain.removesuffix("IfExists"):
        case "StringLike" | "ArnLike":
            tests = [any(_like(one, pattern, call) for pattern in wanted) for one in found]
        case "StringEquals" | "Bool" | "ArnEquals":
            tests = [one in [_fill(value, call) for value in wanted] for one in found]
        case other:
            raise AssertionError(f"{other} is not known")
    return all(tests) if every else any(tests)


def _like(text: str, pattern: str, call: Call) -> bool:
    """Whether a text matches a pattern with * and ?; values of variables match only themselves."""
    parts = re.split(r"(\$\{[^}]+\}|\*|\?)", pattern)
    expression = "".join({"*": ".*", "?": "."}.get(part) or re.escape(_fill(part, call)) for part in parts)
    return re.fullmatch(expression, text, re.DOTALL) is not None


def _fill(text: str, call: Call) -> str:
    """The text with its variables; one without a value matches nothing."""
    return re.sub(r"\$\{([^}]+)\}", lambda match: (call.value(match[1]) or ["\0"])[0], text)


def as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def characters(path: Path) -> int:
    """The size of a policy as AWS counts it: without white space, with a real account number."""
    return len(re.sub(r"\s", "", path.read_text().replace("ACCOUNT", ACCOUNT)))
