"""A submitted job: its ID, and what every service reports about it."""

import re
from dataclasses import dataclass
from typing import Protocol

from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.data.storage.storage import Storage

_STEP = re.compile(r"j-[A-Z0-9]+/s-[A-Z0-9]+")
_JOB_RUN = re.compile(r"[0-9a-z]{16}/[0-9a-z]{16}")


@dataclass(frozen=True, slots=True)
class JobId:
    """The ID of a submitted job: `CLUSTER/STEP` on EC2, `APPLICATION/JOBRUN` on EMR Serverless."""

    target_id: str
    execution_id: str

    @classmethod
    def parse(cls, text: str) -> "JobId":
        """Parse an ID as `hybrid-batch emr submit` prints it. Raises WrongUsage."""
        if not (_STEP.fullmatch(text) or _JOB_RUN.fullmatch(text)):
            raise WrongUsage(
                f"{text!r} is not the ID of an EMR job; give j-CLUSTER/s-STEP or APPLICATION/JOBRUN as printed by "
                "`hybrid-batch emr submit`."
            )
        return cls(*text.split("/"))

    @property
    def is_serverless(self) -> bool:
        return not self.target_id.startswith("j-")

    def __str__(self) -> str:
        return f"{self.target_id}/{self.execution_id}"


@dataclass(frozen=True, slots=True)
class JobState:
    """`name` is EMR's name of the state, such as RUNNING; `reason` is EMR's reason for a failure, or ''."""

    name: str
    ended: bool = False
    succeeded: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class LogLocation:
    """The storage of EMR's logs, and the prefixes of one job's log files, the most informative first."""

    storage: Storage
    prefixes: list[str]


class SubmittedJob(Protocol):
    """A job that EMR knows. Every method raises AwsRefused and AwsUnreachable."""

    def state(self) -> JobState:
        """Return the current state."""

    def result_uri(self) -> str:
        """Return the s3:// folder of the job's result."""

    def logs(self) -> LogLocation | None:
        """Return the location of the logs, or None if EMR stores none in S3."""

    def cancel(self) -> None:
        """Stop the job, and its cluster if that was created for it; do nothing if it has ended."""
