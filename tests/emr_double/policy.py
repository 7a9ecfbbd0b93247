"""The rights of the user: emr/policy.json alone decides what is allowed."""

from tests.emr_double.faults import AwsError
from tests.iam_policies import ACCOUNT, Call, is_allowed, shipped

__all__ = ["ACCOUNT", "POLICY", "TAGGED", "Policy", "resource_tags", "role"]
WORDS = {"YOUR-BUCKET": "emr", "YOUR-RUNS": "log"}
POLICY = shipped("emr/policy.json", **WORDS, **{"YOUR-APPLICATION": "00*"})
TAGGED = {"hybrid-batch": "steps"}


class Policy:
    """Checks requests against the policy and records the used actions."""

    def __init__(self) -> None:
        self.used: set[str] = set()

    def require(self, action: str, resource: str, context: dict[str, str] | None = None, service: str = "") -> None:
        """Raises AwsError unless a statement allows the action. Keys without a service are those of EMR."""
        keys = {name if ":" in name else f"elasticmapreduce:{name}": value for name, value in (context or {}).items()}
        if service:
            keys["iam:PassedToService"] = service
        if not is_allowed(Call(action, resource, keys), [POLICY]):
            raise AwsError(
                "AccessDeniedException", f"User is not authorized to perform: {action} on resource: {resource}"
            )
        self.used.add(action)


def resource_tags(tags: dict[str, str]) -> dict[str, str]:
    """The keys of conditions for the tags of a cluster or an application."""
    names = ("elasticmapreduce:ResourceTag", "aws:ResourceTag")
    return {f"{name}/{key}": value for name in names for key, value in tags.items()}


def role(name: str) -> str:
    return name if name.startswith("arn:") else f"arn:aws:iam::{ACCOUNT}:role/{name}"
