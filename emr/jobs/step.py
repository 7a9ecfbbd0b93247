"""A job that is a step of a cluster on EC2."""

import re
from dataclasses import dataclass
from typing import Any

from hybrid_batch.data.aws.aws_client import Api
from hybrid_batch.data.storage.storage import open_storage
from hybrid_batch.emr.job import result_of
from hybrid_batch.emr.jobs.job_id import Handle
from hybrid_batch.emr.jobs.logs import read_logs
from hybrid_batch.emr.jobs.state import Logs, State

OWN = "hybrid-batch"  # the tag of a cluster made for one job
_UNFINISHED = {"PENDING", "RUNNING", "CANCEL_PENDING"}
_GONE = {"TERMINATING", "TERMINATED", "TERMINATED_WITH_ERRORS"}
_APPLICATION = re.compile(r"application_\d+_\d+")


@dataclass(frozen=True, slots=True)
class Step:
    """The step that `handle` names."""

    api: Api
    handle: Handle

    def state(self) -> State:
        # The cluster first: it goes after its step has ended, so a step found unfinished then was lost with it.
        cluster = self._cluster()["Status"]
        step = self._step()["Status"]
        word = step["State"]
        if word == "COMPLETED":
            return State(word, ended=True, succeeded=True)
        if word not in _UNFINISHED:
            if word == "CANCELLED":
                # Of a step that its cluster took along EMR says no more than "Job terminated"; since then the cluster,
                # which may have been well when it was asked, says why.
                cluster = self._cluster()["Status"]
            reasons = filter(None, (_reason(step), _cluster_reason(cluster)))
            return State(word, ended=True, reason="; ".join(reasons))
        if cluster["State"] in _GONE:
            # A cluster that is lost leaves its step PENDING or RUNNING, at times for ever.
            return State(f"cluster {cluster['State']}", ended=True, reason=_cluster_reason(cluster))
        return State(word if word != "PENDING" else f"PENDING, cluster {cluster['State']}")

    def result(self) -> str:
        return result_of(self._step()["Config"]["Args"])

    def logs(self) -> Logs | None:
        place = self._cluster().get("LogUri")
        if not place:
            return None
        storage = open_storage(re.sub(r"^s3[an]?://", "s3://", place).rstrip("/"))  # EMR writes s3n:// for s3://
        own = f"{self.handle.place}/steps/{self.handle.work}/"
        texts = read_logs(Logs(storage, [own])).values()
        applications = sorted({name for text in texts for name in _APPLICATION.findall(text)})
        return Logs(storage, [*(f"{self.handle.place}/containers/{name}/" for name in applications), own])

    def cancel(self) -> None:
        cluster = self._cluster()
        if any(tag["Key"] == OWN for tag in cluster.get("Tags", ())):
            self.api.ask("emr", "terminate_job_flows", JobFlowIds=[self.handle.place])
        elif cluster["Status"]["State"] not in _GONE:
            self.api.ask(
                "emr",
                "cancel_steps",
                ClusterId=self.handle.place,
                StepIds=[self.handle.work],
                StepCancellationOption="TERMINATE_PROCESS",
            )

    def _step(self) -> Any:  # noqa: ANN401 - EMR's answer
        return self.api.ask("emr", "describe_step", ClusterId=self.handle.place, StepId=self.handle.work)["Step"]

    def _cluster(self) -> Any:  # noqa: ANN401
        return self.api.ask("emr", "describe_cluster", ClusterId=self.handle.place)["Cluster"]


def _reason(status: dict[str, Any]) -> str:
    details = status.get("FailureDetails", {})
    said = [details.get("Reason", ""), details.get("Message", "")]
    return " ".join(filter(None, said)) or str(status.get("StateChangeReason", {}).get("Message", ""))


def _cluster_reason(status: dict[str, Any]) -> str:
    """What ended the cluster, unless that is as it should be."""
    reason = status.get("StateChangeReason", {})
    if status["State"] not in _GONE or reason.get("Code") == "ALL_STEPS_COMPLETED":
        return ""
    return ": ".join(filter(None, (reason.get("Code"), reason.get("Message"))))
