"""Submission to an EMR Serverless application: a job run."""

from dataclasses import dataclass
from math import ceil
from typing import Any

from hybrid_batch.data.aws.aws_client import AwsCall, AwsClient
from hybrid_batch.data.errors import AwsRefused, WrongUsage
from hybrid_batch.data.storage.ensure_object import EnsureObject
from hybrid_batch.emr.job import EvaluationJob
from hybrid_batch.emr.jobs.job_run import UNFINISHED
from hybrid_batch.emr.jobs.submitted_job import JobId
from hybrid_batch.emr.packaging.archives import check_release

_SERVICE = "emr-serverless"
_WORKER = "4 vCPU, 16 GB"  # the default of EMR Serverless
_MIN_TIMEOUT_MINUTES = 5  # accepted by EMR Serverless


@dataclass(frozen=True, slots=True)
class ServerlessApplication:
    """The Spark application `id`. `role` is the IAM role of the job; the service stops the job after `timeout_s`
    seconds."""

    api: AwsClient
    id: str
    architecture: str
    role: str
    timeout_s: float
    is_temporary = False

    @classmethod
    def open(
        cls, api: AwsClient, application: str, release: str | None, role: str, timeout_s: float
    ) -> "ServerlessApplication":
        """Raises AwsRefused if the application does not exist or is terminated, WrongUsage if it does not fit."""
        found = api.call(_SERVICE, "get_application", applicationId=application)["application"]
        if found["state"] == "TERMINATED":
            raise AwsRefused(f"Application {application} is in state TERMINATED; choose another.")
        if found["type"].lower() != "spark":
            raise WrongUsage(f"Application {application} runs {found['type']}, not Spark; choose another.")
        check_release(found["releaseLabel"], release)
        return cls(api, application, found.get("architecture", "X86_64").lower(), role, timeout_s)

    def uploads(self, job: EvaluationJob) -> list[EnsureObject]:
        return job.uploads()

    def start_call(self, job: EvaluationJob) -> AwsCall:
        parameters = {
            "applicationId": self.id,
            # The service repeats its first response to the same token, so a lost response starts no second job run.
            "clientToken": f"hybrid-batch-{job.id}-{job.attempt}",
            "name": job.name,
            "executionRoleArn": self.role,
            "jobDriver": {
                "sparkSubmit": {
                    "entryPoint": job.entry_point,
                    "entryPointArguments": job.entry_arguments,
                    "sparkSubmitParameters": job.spark_parameters(),
                }
            },
            "configurationOverrides": {
                "monitoringConfiguration": {"s3MonitoringConfiguration": {"logUri": job.logs_uri}}
            },
            "executionTimeoutMinutes": self._timeout_minutes,
        }
        return AwsCall(_SERVICE, "start_job_run", parameters)

    def costs(self, job: EvaluationJob) -> list[str]:
        return [
            f"A driver and up to {job.max_executors} executors of {_WORKER} each, billed by the second while the job "
            f"run is active, for at most {self._timeout_minutes} minutes."
        ]

    def find_job(self, job: EvaluationJob) -> JobId | None:
        runs = self.api.pages(
            _SERVICE, "list_job_runs", "jobRuns", "nextToken", applicationId=self.id, states=UNFINISHED[:-1]
        )
        return next((JobId(self.id, run["id"]) for run in runs if run.get("name") == job.name), None)

    def job_id(self, response: dict[str, Any]) -> JobId:
        return JobId(self.id, response["jobRunId"])

    def clean_up(self, job: EvaluationJob) -> None:
        """Do nothing: the application belongs to the user, and stops by itself when idle."""

    @property
    def _timeout_minutes(self) -> int:
        return max(_MIN_TIMEOUT_MINUTES, ceil(self.timeout_s / 60))
