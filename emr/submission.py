"""Submission of a job, exactly once even if requests or responses are lost, and access to it by its ID afterwards."""

from dataclasses import dataclass
from typing import Any, Protocol

from hybrid_batch.data.aws.aws_client import AwsCall, AwsClient
from hybrid_batch.data.backoff import AWS_ATTEMPTS, AWS_BACKOFF
from hybrid_batch.data.errors import AwsUnreachable
from hybrid_batch.data.storage.ensure_object import EnsureObject
from hybrid_batch.data.terminal.defer_sigint import defer_sigint
from hybrid_batch.emr.job import EvaluationJob
from hybrid_batch.emr.jobs.job_run import JobRun
from hybrid_batch.emr.jobs.step import Step
from hybrid_batch.emr.jobs.submitted_job import JobId, SubmittedJob


class JobTarget(Protocol):
    """A service that runs jobs: an existing cluster, a new cluster, or an EMR Serverless application."""

    @property
    def api(self) -> AwsClient: ...

    @property
    def architecture(self) -> str:
        """The architecture of its machines: x86_64 or arm64."""

    @property
    def is_temporary(self) -> bool:
        """Whether the target is created for the job and must end with it."""

    def uploads(self, job: EvaluationJob) -> list[EnsureObject]:
        """Return the objects that must exist in S3 before the job starts."""

    def start_call(self, job: EvaluationJob) -> AwsCall:
        """Return the request that starts the job."""

    def costs(self, job: EvaluationJob) -> list[str]:
        """Return sentences about what AWS charges for the job."""

    def find_job(self, job: EvaluationJob) -> JobId | None:
        """Return the ID of an equal job that is waiting or running on the target."""

    def job_id(self, response: dict[str, Any]) -> JobId:
        """Return the ID of the job from the response to `start_call`."""

    def clean_up(self, job: EvaluationJob) -> None:
        """Delete what was created for the job alone."""


@dataclass(frozen=True, slots=True)
class SubmissionPlan:
    """Everything a submission changes: the uploads, then the one request that starts the job, with its costs in
    words."""

    uploads: list[EnsureObject]
    start_call: AwsCall
    costs: list[str]

    @classmethod
    def of(cls, job: EvaluationJob, target: JobTarget) -> "SubmissionPlan":
        return cls(target.uploads(job), target.start_call(job), target.costs(job))

    def describe(self) -> dict[str, Any]:
        """Return the plan as a JSON object."""
        steps = [*(upload.describe() for upload in self.uploads), self.start_call.describe()]
        return {"plan": steps, "costs": self.costs}


def submit_once(plan: SubmissionPlan, target: JobTarget, job: EvaluationJob) -> JobId:
    """Upload the objects, start the job unless an equal one is waiting or running, and return the ID of that job.

    AWS may have executed a request whose response is lost, and neither RunJobFlow nor AddJobFlowSteps accepts an
    idempotency token. Therefore the job is searched for by name before each attempt. Raises AwsRefused, AwsUnreachable,
    StorageFailed, PackageFailed."""
    for upload in plan.uploads:
        upload.apply()
    for is_last in AWS_BACKOFF.attempts(AWS_ATTEMPTS):
        try:
            return _find_or_start(plan, target, job)
        except AwsUnreachable:
            if is_last:
                raise
    raise AssertionError("the last attempt returns or raises")


def _find_or_start(plan: SubmissionPlan, target: JobTarget, job: EvaluationJob) -> JobId:
    with defer_sigint():
        return target.find_job(job) or target.job_id(target.api.call_once(plan.start_call))


def open_submitted_job(api: AwsClient, job_id: JobId) -> SubmittedJob:
    """Return the job with this ID without contacting AWS."""
    return JobRun(api, job_id) if job_id.is_serverless else Step(api, job_id)
