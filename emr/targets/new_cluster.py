"""Submitting to a cluster made for the job alone, which ends with it.

It ends by itself, for it is made to terminate when its one step has ended or failed, and it is terminated
besides whenever the wait for it ends: even a machine that dies while it waits leaves no cluster behind.
"""

from dataclasses import dataclass
from typing import Any

from hybrid_batch.data.aws.aws_client import Api, Call
from hybrid_batch.data.errors import AwsUnreachable
from hybrid_batch.data.storage.ensure_object import Upload
from hybrid_batch.emr.job import Job
from hybrid_batch.emr.jobs.job_id import Handle
from hybrid_batch.emr.jobs.step import OWN
from hybrid_batch.emr.packaging.release import architecture_of
from hybrid_batch.emr.targets.existing_cluster import find_step, step_of

_ALIVE = ["STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING"]
_IDLE_S = 900
_MANAGED = {"Key": "for-use-with-amazon-emr-managed-policies", "Value": "true"}  # Amazon's service policy wants it


@dataclass(frozen=True, slots=True)
class Machines:
    """What a new cluster is made of; the roles are those of emr/cluster.yaml unless named."""

    release: str
    instance_type: str
    workers: int
    service_role: str
    instance_profile: str
    subnet: str | None


@dataclass(frozen=True, slots=True)
class NewCluster:
    """A cluster of `machines` that does not stand yet."""

    api: Api
    machines: Machines
    owned = True

    @property
    def architecture(self) -> str:
        return architecture_of(self.machines.instance_type)

    def uploads(self, job: Job) -> list[Upload]:
        return [*job.uploads(), job.bootstrap()]

    def call(self, job: Job) -> Call:
        machines = self.machines
        groups = [("MASTER", 1), ("CORE", machines.workers)]
        instances: dict[str, Any] = {
            "InstanceGroups": [
                {"Name": role.lower(), "InstanceRole": role, "InstanceType": machines.instance_type, "InstanceCount": n}
                for role, n in groups
                if n
            ],
            "KeepJobFlowAliveWhenNoSteps": False,
            "TerminationProtected": False,
        }
        if machines.subnet:
            instances["Ec2SubnetId"] = machines.subnet
        parameters = {
            "Name": job.name,
            "ReleaseLabel": machines.release,
            "LogUri": job.logs,
            "Applications": [{"Name": "Hadoop"}, {"Name": "Spark"}],
            "Instances": instances,
            "BootstrapActions": [
                {"Name": "python", "ScriptBootstrapAction": {"Path": job.bootstrap().uri, "Args": [job.python]}}
            ],
            "Steps": [step_of(job, "TERMINATE_CLUSTER")],
            "AutoTerminationPolicy": {"IdleTimeout": _IDLE_S},
            "ServiceRole": machines.service_role,
            "JobFlowRole": machines.instance_profile,
            "VisibleToAllUsers": True,
            "Tags": [{"Key": OWN, "Value": job.id}, _MANAGED],
        }
        return Call("emr", "run_job_flow", parameters)

    def costs(self, job: Job) -> list[str]:
        count = 1 + self.machines.workers
        return [
            f"{count} x {self.machines.instance_type} and EMR's charge for them, from the start of the cluster "
            f"until its step has ended: {count} instance-hours an hour, by the second, at least a minute."
        ]

    def find(self, job: Job) -> Handle | None:
        cluster = self._standing(job)
        return find_step(self.api, cluster, job) if cluster else None

    def handle(self, answer: dict[str, Any]) -> Handle:
        cluster = answer["JobFlowId"]
        for step in self.api.pages("emr", "list_steps", "Steps", "Marker", ClusterId=cluster):
            return Handle(cluster, step["Id"])
        raise AwsUnreachable(f"Cluster {cluster} shows no step yet; `aws emr list-steps` will, later.")

    def end(self, job: Job) -> None:
        """Terminate the cluster, if it came to stand. Raises AwsRefused, AwsUnreachable."""
        if cluster := self._standing(job):
            self.api.ask("emr", "terminate_job_flows", JobFlowIds=[cluster])

    def _standing(self, job: Job) -> str | None:
        # By name, and not by the answer to the request that made it, which an interrupt or a broken line loses.
        for cluster in self.api.pages("emr", "list_clusters", "Clusters", "Marker", ClusterStates=_ALIVE):
            if cluster["Name"] == job.name:
                return str(cluster["Id"])
        return None
