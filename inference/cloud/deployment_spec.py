"""What shall stand in the cloud: what the user asks `hybrid-batch cloud deploy` for, as parameters of the stack."""

import re
from dataclasses import dataclass

from hybrid_batch.data.errors import WrongUsage

PARTS = ("lambda", "api", "url", "queue", "trigger")
CORE_MB = 1769  # the memory for which AWS gives a function one whole core
_FUNCTION_PARTS = {"lambda", "api", "url", "trigger"}
_NAME = re.compile(r"[a-z][a-z0-9-]{0,33}[a-z0-9]")
_API_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options of `cloud deploy` that say what shall stand."""

    name: str
    parts: frozenset[str]
    architecture: str
    python: str
    memory_mb: int
    timeout_s: int
    concurrency: int
    auth: str
    cuts: tuple[str, ...]
    max_workers: int
    spot: bool
    subnets: tuple[str, ...]
    alarm_topic: str | None

    def check(self) -> None:
        """Raises WrongUsage for what AWS would refuse later."""
        check_name(self.name)
        if self.has("api") and self.timeout_s > _API_TIMEOUT_S:
            raise WrongUsage(
                f"An HTTP API waits {_API_TIMEOUT_S} s at most, not {self.timeout_s}; lower --timeout or leave out api."
            )

    def has(self, part: str) -> bool:
        """Whether this way in is asked for."""
        return part in self.parts

    def leads(self, way: str) -> bool:
        """Whether this way in will stand; that to the function itself does wherever there is one."""
        return self.has(way) or (way == "lambda" and self.has_function)

    @property
    def has_function(self) -> bool:
        return bool(self.parts & _FUNCTION_PARTS)

    @property
    def has_workers(self) -> bool:
        return self.has("queue") and self.max_workers > 0

    @property
    def needs_token(self) -> bool:
        return self.has("api") and self.auth == "token"

    @property
    def is_arm(self) -> bool:
        return self.architecture == "arm64"

    def parameters(self, bundle: str, package: str) -> dict[str, str]:
        """Those of tail.yaml but the token's; `bundle` is the hash of the bundle, `package` the package's key."""
        return {
            "Bundle": bundle,
            "Package": package,
            "Architecture": self.architecture,
            "Python": self.python,
            "WithFunction": _yes(self.has_function),
            "Api": self.auth if self.has("api") else "no",
            "WithUrl": _yes(self.has("url")),
            "WithTrigger": _yes(self.has("trigger")),
            "WithQueue": _yes(self.has("queue")),
            "Memory": str(self.memory_mb),
            "Timeout": str(self.timeout_s),
            "Concurrency": str(self.concurrency),
            "Cuts": ",".join(self.cuts),
            "MaxWorkers": str(self.max_workers),
            "OnDemandPercent": "0" if self.spot else "100",
            "Subnets": ",".join(self.subnets),
            "AlarmTopic": self.alarm_topic or "",
        }


def check_name(name: str) -> None:
    """Raises WrongUsage for what names no deployment."""
    if not _NAME.fullmatch(name):
        raise WrongUsage(
            f"No deployment can be named {name!r}; use 2 to 35 of a-z, 0-9 and hyphens, a letter first and no hyphen "
            "last."
        )


def default_name(model: str) -> str:
    """The name of a model's deployment where none is given."""
    plain = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-") or "model"
    return f"hybrid-batch-{plain}"[:35].rstrip("-")


def _yes(value: bool) -> str:
    return "yes" if value else "no"
