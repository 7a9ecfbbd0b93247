"""A job that is a job run of an EMR Serverless application."""

from dataclasses import dataclass
from typing import Any

from hybrid_batch.data.aws.aws_client import Api
from hybrid_batch.data.storage.storage import open_storage
from hybrid_batch.emr.job import result_of
from hybrid_batch.emr.jobs.job_id import Handle
from hybrid_batch.emr.jobs.state import Logs, State

UNFINISHED = ["SUBMITTED", "PENDING", "SCHEDULED", "QUEUED", "RUNNING", "CANCELLING"]


@dataclass(frozen=True, slots=True)
class JobRun:
    """The job run that `handle` names."""

    api: Api
    handle: Handle

    def state(self) -> State:
        job = self._job_run()
        word = job["state"]
        if word in UNFINISHED:
            return State(word)
        succeeded = word == "SUCCESS"
        return State(word, ended=True, succeeded=succeeded, reason="" if succeeded else job.get("stateDetails", ""))

    def result(self) -> str:
        return result_of(self._job_run()["jobDriver"]["sparkSubmit"]["entryPointArguments"])

    def logs(self) -> Logs | None:
        monitoring = self._job_run().get("configurationOverrides", {}).get("monitoringConfiguration", {})
        place = monitoring.get("s3MonitoringConfiguration", {}).get("logUri")
        if not place:
            return None
        own = f"applications/{self.handle.place}/jobs/{self.handle.work}/"
        return Logs(open_storage(place.rstrip("/")), [f"{own}SPARK_DRIVER/", f"{own}SPARK_EXECUTOR/"])

    def cancel(self) -> None:
        if self._job_run()["state"] in UNFINISHED:
            self.api.ask("emr-serverless", "cancel_job_run", **self._key())

    def _job_run(self) -> Any:  # noqa: ANN401 - EMR's answer
        return self.api.ask("emr-serverless", "get_job_run", **self._key())["jobRun"]

    def _key(self) -> dict[str, str]:
        return {"applicationId": self.handle.place, "jobRunId": self.handle.work}
