"""Submission to an existing cluster: one more step."""

from dataclasses import dataclass
from typing import Any

from hybrid_batch.data.aws.aws_client import AwsCall, AwsClient
from hybrid_batch.data.errors import AwsRefused, WrongUsage
from hybrid_batch.data.storage.ensure_object import EnsureObject
from hybrid_batch.emr.job import EvaluationJob
from hybrid_batch.emr.jobs.submitted_job import JobId
from hybrid_batch.emr.packaging.archives import architecture_of, check_release

_ALIVE = {"STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING"}
_APPLICATIONS = {"spark": "Spark", "mrjob": "Hadoop"}  # by the engine that needs it


@dataclass(frozen=True, slots=True)
class ExistingCluster:
    """The cluster `id`, which runs and fits the job."""

    api: AwsClient
    id: str
    architecture: str
    is_temporary = False

    @classmethod
    def open(cls, api: AwsClient, cluster: str, release: str | None, engine: str) -> "ExistingCluster":
        """Raises AwsRefused if the cluster does not exist, has ended or has no single architecture, WrongUsage if its
        release or its applications do not fit."""
        found = api.call("emr", "describe_cluster", ClusterId=cluster)["Cluster"]
        state = found["Status"]["State"]
        if state not in _ALIVE:
            raise AwsRefused(f"Cluster {cluster} is in state {state}; choose a running one or use --create-cluster.")
        check_release(found["ReleaseLabel"], release)
        installed = {application["Name"] for application in found.get("Applications", ())}
        if _APPLICATIONS[engine] not in installed:
            names = ", ".join(sorted(installed)) or "none"
            raise WrongUsage(
                f"Cluster {cluster} lacks {_APPLICATIONS[engine]} (installed: {names}); use the other --engine or "
                "another cluster."
            )
        instances = api.pages("emr", "list_instances", "Instances", "Marker", ClusterId=cluster)
        architectures = {architecture_of(instance["InstanceType"]) for instance in instances}
        if len(architectures) != 1:
            problem = "instances of both architectures" if architectures else "no instances yet"
            raise AwsRefused(f"Cluster {cluster} has {problem}; choose one with instances of one architecture.")
        return cls(api, cluster, architectures.pop())

    def uploads(self, job: EvaluationJob) -> list[EnsureObject]:
        return job.uploads()

    def start_call(self, job: EvaluationJob) -> AwsCall:
        return AwsCall("emr", "add_job_flow_steps", {"JobFlowId": self.id, "Steps": [step_config(job, "CONTINUE")]})

    def costs(self, job: EvaluationJob) -> list[str]:
        return [f"No additional instances: the step runs on cluster {self.id}."]

    def find_job(self, job: EvaluationJob) -> JobId | None:
        return find_step(self.api, self.id, job)

    def job_id(self, response: dict[str, Any]) -> JobId:
        return JobId(self.id, response["StepIds"][0])

    def clean_up(self, job: EvaluationJob) -> None:
        """Do nothing: the cluster belongs to the user."""


def step_config(job: EvaluationJob, on_failure: str) -> dict[str, Any]:
    """Return EMR's StepConfig of the job; `on_failure` is the step's ActionOnFailure."""
    return {
        "Name": job.name,
        "ActionOnFailure": on_failure,
        "HadoopJarStep": {"Jar": "command-runner.jar", "Args": job.step_arguments()},
    }


def find_step(api: AwsClient, cluster: str, job: EvaluationJob) -> JobId | None:
    """Return the job's waiting or running step on a cluster."""
    states = ["PENDING", "RUNNING"]
    for step in api.pages("emr", "list_steps", "Steps", "Marker", ClusterId=cluster, StepStates=states):
        if step["Name"] == job.name:
            return JobId(cluster, step["Id"])
    return None
