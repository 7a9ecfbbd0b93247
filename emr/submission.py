"""Submitting so that the job happens once, whatever is lost on the way."""

from typing import Any, Protocol

from hybrid_batch.data.aws.aws_client import ATTEMPTS, Api, Call, pause
from hybrid_batch.data.errors import AwsUnreachable
from hybrid_batch.data.storage.ensure_object import Upload
from hybrid_batch.data.terminal.defer_sigint import undisturbed
from hybrid_batch.emr.job import Job
from hybrid_batch.emr.jobs.job_id import Handle
from hybrid_batch.emr.submission_plan import Plan


class Target(Protocol):
    """A place that runs jobs: a cluster that stands, one to be made, or a Serverless application."""

    @property
    def api(self) -> Api: ...

    @property
    def architecture(self) -> str:
        """The processor of its machines: x86_64 or arm64."""

    @property
    def owned(self) -> bool:
        """Whether the place is made for the job, and must not outlive it."""

    def uploads(self, job: Job) -> list[Upload]:
        """What must stand in S3 first."""

    def call(self, job: Job) -> Call:
        """The request that starts the job."""

    def costs(self, job: Job) -> list[str]:
        """What the job will be charged for, in words."""

    def find(self, job: Job) -> Handle | None:
        """An equal job that waits or runs there."""

    def handle(self, answer: dict[str, Any]) -> Handle:
        """The job that the answer to the request tells of."""

    def end(self, job: Job) -> None:
        """Have nothing left that was made for the job."""


def make_plan(target: Target, job: Job) -> Plan:
    """All that `carry_out` will do."""
    return Plan(target.uploads(job), target.call(job), target.costs(job))


def carry_out(plan: Plan, target: Target, job: Job) -> Handle:
    """Upload, and start the job unless an equal one waits or runs; the one that does then.

    A request whose answer is lost may have been acted on, and neither RunJobFlow nor AddJobFlowSteps knows a
    token that would make it harmless to repeat. So before each attempt the job is looked for by its name.
    Raises AwsRefused, AwsUnreachable, StorageFailed, PackageFailed.
    """
    plan.upload()
    for attempt in range(ATTEMPTS - 1):
        try:
            return _start(plan, target, job)
        except AwsUnreachable:
            pause(attempt)
    return _start(plan, target, job)


def _start(plan: Plan, target: Target, job: Job) -> Handle:
    with undisturbed():
        return target.find(job) or target.handle(target.api.send(plan.call))
