"""A submitted job that is a step of a cluster on EC2."""

import re
from dataclasses import dataclass
from typing import Any

from hybrid_batch.data.aws.aws_client import AwsClient
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.emr.job import result_uri_of
from hybrid_batch.emr.jobs.logs import read_logs
from hybrid_batch.emr.jobs.submitted_job import JobId, JobState, LogLocation

# The tag of a cluster that may run jobs; its value begins with "job-" if the cluster was created for one job.
CLUSTER_TAG, TEMPORARY = "hybrid-batch", "job-"
_UNFINISHED = {"PENDING", "RUNNING", "CANCEL_PENDING"}
_GONE = {"TERMINATING", "TERMINATED", "TERMINATED_WITH_ERRORS"}
_APPLICATION = re.compile(r"application_\d+_\d+")


@dataclass(frozen=True, slots=True)
class Step:
    """The step with this ID."""

    api: AwsClient
    id: JobId

    def state(self) -> JobState:
        # Read the cluster before the step: a cluster terminates after its step has ended, so a step that is still
        # unfinished after the cluster was seen terminated was lost with it.
        cluster = self._cluster()["Status"]
        step = self._step()["Status"]
        name = step["State"]
        if name == "COMPLETED":
            return JobState(name, ended=True, succeeded=True)
        if name not in _UNFINISHED:
            if name == "CANCELLED":
                # The reason of a step that ended with its cluster is only "Job terminated". The cluster has the real
                # reason, and may have been healthy when it was read.
                cluster = self._cluster()["Status"]
            reasons = filter(None, (_reason(step), _cluster_reason(cluster)))
            return JobState(name, ended=True, reason="; ".join(reasons))
        if cluster["State"] in _GONE:
            # EMR may leave the step of a lost cluster PENDING or RUNNING for ever.
            return JobState(f"cluster {cluster['State']}", ended=True, reason=_cluster_reason(cluster))
        return JobState(name if name != "PENDING" else f"PENDING, cluster {cluster['State']}")

    def result_uri(self) -> str:
        return result_uri_of(self._step()["Config"]["Args"])

    def logs(self) -> LogLocation | None:
        uri = self._cluster().get("LogUri")
        if not uri:
            return None
        storage = open_storage(re.sub(r"^s3[an]?://", "s3://", uri).rstrip("/"))  # EMR writes s3n:// for s3://
        step = f"{self.id.target_id}/steps/{self.id.execution_id}/"
        texts = read_logs(LogLocation(storage, [step])).values()
        applications = sorted({name for text in texts for name in _APPLICATION.findall(text)})
        return LogLocation(storage, [*(f"{self.id.target_id}/containers/{name}/" for name in applications), step])

    def cancel(self) -> None:
        cluster = self._cluster()
        if any(tag["Key"] == CLUSTER_TAG and tag["Value"].startswith(TEMPORARY) for tag in cluster.get("Tags", ())):
            self.api.call("emr", "terminate_job_flows", JobFlowIds=[self.id.target_id])
        elif cluster["Status"]["State"] not in _GONE:
            self.api.call(
                "emr",
                "cancel_steps",
                ClusterId=self.id.target_id,
                StepIds=[self.id.execution_id],
                StepCancellationOption="TERMINATE_PROCESS",
            )

    def _step(self) -> Any:  # noqa: ANN401 - EMR's response
        return self.api.call("emr", "describe_step", ClusterId=self.id.target_id, StepId=self.id.execution_id)["Step"]

    def _cluster(self) -> Any:  # noqa: ANN401
        return self.api.call("emr", "describe_cluster", ClusterId=self.id.target_id)["Cluster"]


def _reason(status: dict[str, Any]) -> str:
    details = status.get("FailureDetails", {})
    reasons = filter(None, (details.get("Reason"), details.get("Message")))
    return " ".join(reasons) or str(status.get("StateChangeReason", {}).get("Message", ""))


def _cluster_reason(status: dict[str, Any]) -> str:
    """Return the reason of the cluster's termination, '' if it runs or terminated after its last step."""
    reason = status.get("StateChangeReason", {})
    if status["State"] not in _GONE or reason.get("Code") == "ALL_STEPS_COMPLETED":
        return ""
    return ": ".join(filter(None, (reason.get("Code"), reason.get("Message"))))
