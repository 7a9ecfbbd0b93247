"""How a submitted job stands, whichever service runs it."""

from dataclasses import dataclass
from typing import Protocol

from hybrid_batch.data.storage.storage import Storage


@dataclass(frozen=True, slots=True)
class State:
    """`word` is EMR's own, such as RUNNING; `reason` what EMR says of an end that is no success, or ''."""

    word: str
    ended: bool = False
    succeeded: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Logs:
    """Where EMR writes the logs of a job, and the prefixes there of this job's own, the most telling first."""

    storage: Storage
    prefixes: list[str]


class Work(Protocol):
    """A submitted job. All raise AwsRefused and AwsUnreachable."""

    def state(self) -> State:
        """How it stands."""

    def result(self) -> str:
        """The s3:// folder where it leaves its result."""

    def logs(self) -> Logs | None:
        """Where its logs are; None when it keeps none in S3."""

    def cancel(self) -> None:
        """Have it stopped, with the cluster if that was made for it; nothing if it has ended."""
