"""The specification of a deployment: the options of `hybrid-batch cloud deploy` as parameters of the stack."""

import re
from dataclasses import dataclass

from hybrid_batch.data.errors import WrongUsage

ENTRY_POINTS = ("lambda", "api", "url", "queue", "trigger")
CORE_MB = 1769  # memory with which a Lambda function has one core
_FUNCTION_ENTRY_POINTS = {"lambda", "api", "url", "trigger"}
_NAME = re.compile(r"[a-z][a-z0-9-]{0,33}[a-z0-9]")
_API_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class DeploymentSpec:
    """The requested deployment. `entry_points` are some of ENTRY_POINTS, only `cuts` are served unless it is empty,
    `concurrency` 0 is the account's limit, `auth` ("token" or "iam") applies to the HTTP API, `boundary` is the name or
    ARN of the roles' permissions boundary, "none" for none."""

    name: str
    entry_points: frozenset[str]
    architecture: str
    python: str
    memory_mb: int
    timeout_s: int
    concurrency: int
    auth: str
    cuts: tuple[str, ...]
    max_workers: int
    spot: bool
    worker_image: str | None
    subnets: tuple[str, ...]
    alarm_topic: str | None
    boundary: str

    def check(self) -> None:
        """Raises WrongUsage for settings that AWS would refuse later."""
        check_name(self.name)
        if self.has("api") and self.timeout_s > _API_TIMEOUT_S:
            raise WrongUsage(
                f"An HTTP API waits at most {_API_TIMEOUT_S} s, not {self.timeout_s}; lower --function-timeout or "
                "leave out api."
            )

    def has(self, entry_point: str) -> bool:
        """Whether this entry point is requested."""
        return entry_point in self.entry_points

    def will_exist(self, entry_point: str) -> bool:
        """Whether the deployment will have this entry point: "lambda" exists wherever a function is needed."""
        return self.has(entry_point) or (entry_point == "lambda" and self.has_function)

    @property
    def has_function(self) -> bool:
        return bool(self.entry_points & _FUNCTION_ENTRY_POINTS)

    @property
    def has_workers(self) -> bool:
        return self.has("queue") and self.max_workers > 0

    @property
    def needs_token(self) -> bool:
        return self.has("api") and self.auth == "token"

    @property
    def is_arm(self) -> bool:
        return self.architecture == "arm64"

    def resources(self) -> tuple[str, ...]:
        """What the stack will contain, in words."""
        parts = (
            (True, "bucket of packages, frames and images"),
            (True, "bucket of its access logs, kept for 90 days"),
            (self.has_function, "function with role and log"),
            (self.has("api"), "HTTP API with a log of accesses, kept for 90 days"),
            (self.needs_token, "function that checks the token, with role and log"),
            (self.has("url"), "function URL"),
            (self.has("trigger"), "trigger of the bucket"),
            (self.has("queue"), "queue with dead letters"),
            (self.has_workers, f"0 to {self.max_workers} machines with role and launch template"),
        )
        return tuple(words for exists, words in parts if exists)

    def parameters(self, bundle: str, package: str) -> dict[str, str]:
        """The parameters of tail.yaml except those of the token, the hashes of the package and the boundary's ARN.
        `bundle` is the bundle's hash, `package` the package's key in the bucket."""
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
            "WorkerImage": self.worker_image or "",
            "Subnets": ",".join(self.subnets),
            "AlarmTopic": self.alarm_topic or "",
        }


def check_name(name: str) -> None:
    """Raises WrongUsage for an invalid name of a deployment."""
    if not _NAME.fullmatch(name):
        raise WrongUsage(
            f"{name!r} is not a valid name of a deployment; use 2 to 35 characters of a-z, 0-9 and hyphens, a letter "
            "first and no hyphen last."
        )


def default_name(model: str) -> str:
    """The default name of a model's deployment."""
    plain = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-") or "model"
    return f"hybrid-batch-{plain}"[:35].rstrip("-")


def _yes(value: bool) -> str:
    return "yes" if value else "no"
