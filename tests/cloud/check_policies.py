"""Check the shipped policies against AWS's list of actions: `python -m tests.cloud.check_policies FILE…`.

Every action must exist, and support every key of its conditions; IAM accepts both mistakes and then allows nothing. It
uses policy_sentry, which is installed with checkov.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from policy_sentry.shared.iam_data import get_service_prefix_data  # type: ignore[import-not-found, unused-ignore]

# apigateway:TagResource is in the list of CloudFormation's permissions and not in that of IAM's actions.
UNLISTED = {"apigateway:tagresource"}


def problems(document: dict[str, Any]) -> Iterator[str]:
    """One line for each action or key that AWS does not know."""
    for statement in document["Statement"]:
        actions = statement["Action"]
        # "Null" and "ForAllValues" hold for a key that the action does not support.
        conditions = statement.get("Condition", {}).items()
        keys = [key for operator, wanted in conditions if not operator.startswith(("Null", "ForAll")) for key in wanted]
        for action in [actions] if isinstance(actions, str) else actions:
            found = list(privileges(action))
            if not found and action.lower() not in UNLISTED:
                yield f"{action} does not exist"
            for key in keys:
                if found and not any(plain(key) in supported for supported in found):
                    yield f"{action} does not support {key}"


def privileges(action: str) -> Iterator[set[str]]:
    """The keys of conditions of each action that matches."""
    service, _, verb = action.partition(":")
    data = get_service_prefix_data(service)
    pattern = re.compile(re.escape(verb).replace(r"\*", ".*"), re.IGNORECASE)
    for name, privilege in data["privileges"].items():
        if pattern.fullmatch(name):
            supported = set(privilege.get("condition_keys", ()))
            for kind, details in privilege["resource_types"].items():
                supported |= {
                    *details.get("condition_keys", ()),
                    *data["resources"].get(kind, {}).get("condition_keys", ()),
                }
            yield {plain(key) for key in supported}


def plain(key: str) -> str:
    """A key without the name of a tag."""
    return re.sub(r"(Tag)/.*", r"\1", key).lower()


def main(paths: list[str]) -> None:
    """Print all problems, and exit with 1 if one exists."""
    found = [f"{path}: {one}" for path in paths for one in problems(json.loads(Path(path).read_text(encoding="utf-8")))]
    sys.stderr.writelines(f"{line}\n" for line in found)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
