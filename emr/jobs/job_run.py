"""A submitted job that is a job run of an EMR Serverless application."""

from dataclasses import dataclass
from typing import Any

from hybrid_batch.data.aws.aws_client import AwsClient
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.emr.job import result_uri_of
from hybrid_batch.emr.jobs.submitted_job import JobId, JobState, LogLocation

UNFINISHED = ["SUBMITTED", "PENDING", "SCHEDULED", "QUEUED", "RUNNING", "CANCELLING"]


@dataclass(frozen=True, slots=True)
class JobRun:
    """The job run with this ID."""

    api: AwsClient
    id: JobId

    def state(self) -> JobState:
        job_run = self._describe()
        name = job_run["state"]
        if name in UNFINISHED:
            return JobState(name)
        succeeded = name == "SUCCESS"
        reason = "" if succeeded else job_run.get("stateDetails", "")
        return JobState(name, ended=True, succeeded=succeeded, reason=reason)

    def result_uri(self) -> str:
        return result_uri_of(self._describe()["jobDriver"]["sparkSubmit"]["entryPointArguments"])

    def logs(self) -> LogLocation | None:
        monitoring = self._describe().get("configurationOverrides", {}).get("monitoringConfiguration", {})
        uri = monitoring.get("s3MonitoringConfiguration", {}).get("logUri")
        if not uri:
            return None
        folder = f"applications/{self.id.target_id}/jobs/{self.id.execution_id}/"
        return LogLocation(open_storage(uri.rstrip("/")), [f"{folder}SPARK_DRIVER/", f"{folder}SPARK_EXECUTOR/"])

    def cancel(self) -> None:
        if self._describe()["state"] in UNFINISHED:
            self.api.call("emr-serverless", "cancel_job_run", **self._key())

    def _describe(self) -> Any:  # noqa: ANN401 - EMR's response
        return self.api.call("emr-serverless", "get_job_run", **self._key())["jobRun"]

    def _key(self) -> dict[str, str]:
        return {"applicationId": self.id.target_id, "jobRunId": self.id.execution_id}
