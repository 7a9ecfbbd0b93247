"""Submitting to a cluster that stands: one more step."""

from dataclasses import dataclass
from typing import Any

from hybrid_batch.data.aws.aws_client import Api, Call
from hybrid_batch.data.errors import AwsRefused, WrongUsage
from hybrid_batch.data.storage.ensure_object import Upload
from hybrid_batch.emr.job import Job
from hybrid_batch.emr.jobs.job_id import Handle
from hybrid_batch.emr.packaging.release import architecture_of, check_release

_ALIVE = {"STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING"}
_NEEDS = {"spark": "Spark", "mrjob": "Hadoop"}


@dataclass(frozen=True, slots=True)
class StandingCluster:
    """The cluster `id`, alive and fit for the job."""

    api: Api
    id: str
    architecture: str
    owned = False

    @classmethod
    def open(cls, api: Api, cluster: str, release: str | None, engine: str) -> "StandingCluster":
        """Raises AwsRefused when there is no such cluster or it has ended, WrongUsage when it does not fit."""
        found = api.ask("emr", "describe_cluster", ClusterId=cluster)["Cluster"]
        state = found["Status"]["State"]
        if state not in _ALIVE:
            raise AwsRefused(f"Cluster {cluster} is {state}; name one that runs, or use --create.")
        check_release(found["ReleaseLabel"], release)
        installed = {application["Name"] for application in found.get("Applications", ())}
        if _NEEDS[engine] not in installed:
            raise WrongUsage(
                f"Cluster {cluster} has no {_NEEDS[engine]} but {', '.join(sorted(installed)) or 'nothing'}; "
                "use the other --engine or another cluster."
            )
        machines = api.pages("emr", "list_instances", "Instances", "Marker", ClusterId=cluster)
        architectures = {architecture_of(machine["InstanceType"]) for machine in machines}
        if len(architectures) != 1:
            what = "machines of both processors" if architectures else "no machines yet"
            raise AwsRefused(f"Cluster {cluster} has {what}; name one that has machines of one kind.")
        return cls(api, cluster, architectures.pop())

    def uploads(self, job: Job) -> list[Upload]:
        return job.uploads()

    def call(self, job: Job) -> Call:
        return Call("emr", "add_job_flow_steps", {"JobFlowId": self.id, "Steps": [step_of(job, "CONTINUE")]})

    def costs(self, job: Job) -> list[str]:
        return [f"No new machine: the step runs on {self.id}, which is paid for while it stands."]

    def find(self, job: Job) -> Handle | None:
        return find_step(self.api, self.id, job)

    def handle(self, answer: dict[str, Any]) -> Handle:
        return Handle(self.id, answer["StepIds"][0])

    def end(self, job: Job) -> None:
        """The cluster is the user's: it stays."""


def step_of(job: Job, on_failure: str) -> dict[str, Any]:
    """The job as EMR's StepConfig."""
    return {
        "Name": job.name,
        "ActionOnFailure": on_failure,
        "HadoopJarStep": {"Jar": "command-runner.jar", "Args": job.step_arguments()},
    }


def find_step(api: Api, cluster: str, job: Job) -> Handle | None:
    """The job's step on a cluster, waiting or running."""
    states = ["PENDING", "RUNNING"]
    for step in api.pages("emr", "list_steps", "Steps", "Marker", ClusterId=cluster, StepStates=states):
        if step["Name"] == job.name:
            return Handle(cluster, step["Id"])
    return None
