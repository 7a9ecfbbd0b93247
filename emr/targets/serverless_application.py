"""Submitting to an EMR Serverless application: a job run."""

from dataclasses import dataclass
from math import ceil
from typing import Any

from hybrid_batch.data.aws.aws_client import Api, Call
from hybrid_batch.data.errors import AwsRefused, WrongUsage
from hybrid_batch.data.storage.ensure_object import Upload
from hybrid_batch.emr.job import Job
from hybrid_batch.emr.jobs.job_id import Handle
from hybrid_batch.emr.jobs.job_run import UNFINISHED
from hybrid_batch.emr.packaging.release import check_release

_SERVICE = "emr-serverless"
_WORKER = "4 vCPU, 16 GB"  # EMR Serverless's own default


@dataclass(frozen=True, slots=True)
class Application:
    """The Spark application `id`; `role` is the job's IAM role, `timeout_s` what the service itself allows it."""

    api: Api
    id: str
    architecture: str
    role: str
    timeout_s: float
    owned = False

    @classmethod
    def open(cls, api: Api, application: str, release: str | None, role: str, timeout_s: float) -> "Application":
        """Raises AwsRefused when there is no such application or it is gone, WrongUsage when it does not fit."""
        found = api.ask(_SERVICE, "get_application", applicationId=application)["application"]
        if found["state"] == "TERMINATED":
            raise AwsRefused(f"Application {application} is TERMINATED; name one that stands.")
        if found["type"].lower() != "spark":
            raise WrongUsage(f"Application {application} runs {found['type']}, not Spark; name another.")
        check_release(found["releaseLabel"], release)
        return cls(api, application, found.get("architecture", "X86_64").lower(), role, timeout_s)

    def uploads(self, job: Job) -> list[Upload]:
        return job.uploads()

    def call(self, job: Job) -> Call:
        parameters = {
            "applicationId": self.id,
            # The service gives the first answer again to the same token: no lost answer starts a second job run.
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
            "configurationOverrides": {"monitoringConfiguration": {"s3MonitoringConfiguration": {"logUri": job.logs}}},
            "executionTimeoutMinutes": max(5, ceil(self.timeout_s / 60)),
        }
        return Call(_SERVICE, "start_job_run", parameters)

    def costs(self, job: Job) -> list[str]:
        return [
            f"A driver and up to {job.executors} executors of {_WORKER} each, by the second while the job run works, "
            f"for at most {max(5, ceil(self.timeout_s / 60))} minutes."
        ]

    def find(self, job: Job) -> Handle | None:
        runs = self.api.pages(
            _SERVICE, "list_job_runs", "jobRuns", "nextToken", applicationId=self.id, states=UNFINISHED[:-1]
        )
        return next((Handle(self.id, run["id"]) for run in runs if run.get("name") == job.name), None)

    def handle(self, answer: dict[str, Any]) -> Handle:
        return Handle(self.id, answer["jobRunId"])

    def end(self, job: Job) -> None:
        """The application is the user's: it stays, and stops by itself when idle."""
