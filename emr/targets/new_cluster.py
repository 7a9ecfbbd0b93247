"""Submission to a new cluster that is created for the job alone and ends with it.

The cluster terminates by itself when its only step has ended, so none is left running even if the local machine fails.
It is also terminated whenever the wait for the job ends.
"""

from dataclasses import dataclass
from typing import Any

from hybrid_batch.data.aws.aws_client import AwsCall, AwsClient
from hybrid_batch.data.errors import AwsUnreachable
from hybrid_batch.data.storage.ensure_object import EnsureObject
from hybrid_batch.emr.job import MACHINE_FOLDER, EvaluationJob
from hybrid_batch.emr.jobs.step import CLUSTER_TAG, TEMPORARY
from hybrid_batch.emr.jobs.submitted_job import JobId
from hybrid_batch.emr.packaging.archives import architecture_of
from hybrid_batch.emr.targets.existing_cluster import find_step, step_config

_ALIVE = ["STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING"]
_IDLE_S = 900
NO_CONFIGURATION = "none"
_MANAGED = {"Key": "for-use-with-amazon-emr-managed-policies", "Value": "true"}  # required by Amazon's service policy


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """The settings of a new cluster. The defaults of the roles and of the security configuration ("none" for none) are
    those of emr/cluster.yaml."""

    release: str
    instance_type: str
    workers: int
    service_role: str
    instance_profile: str
    security_configuration: str
    subnet: str | None


@dataclass(frozen=True, slots=True)
class NewCluster:
    """A cluster that does not exist yet."""

    api: AwsClient
    spec: ClusterSpec
    is_temporary = True

    @property
    def architecture(self) -> str:
        return architecture_of(self.spec.instance_type)

    def uploads(self, job: EvaluationJob) -> list[EnsureObject]:
        return [*job.uploads(), job.bootstrap_script()]

    def start_call(self, job: EvaluationJob) -> AwsCall:
        spec = self.spec
        groups = [("MASTER", 1), ("CORE", spec.workers)]
        instances: dict[str, Any] = {
            "InstanceGroups": [
                {"Name": role.lower(), "InstanceRole": role, "InstanceType": spec.instance_type, "InstanceCount": count}
                for role, count in groups
                if count
            ],
            "KeepJobFlowAliveWhenNoSteps": False,
            "TerminationProtected": False,
        }
        if spec.subnet:
            instances["Ec2SubnetId"] = spec.subnet
        parameters = {
            "Name": job.name,
            "ReleaseLabel": spec.release,
            "LogUri": job.logs_uri,
            "Applications": [{"Name": "Hadoop"}, {"Name": "Spark"}],
            "Instances": instances,
            "BootstrapActions": [
                {
                    "Name": "packages",
                    "ScriptBootstrapAction": {
                        "Path": job.bootstrap_script().uri,
                        "Args": [job.python, MACHINE_FOLDER, *job.verified_downloads()],
                    },
                }
            ],
            "Steps": [step_config(job, "TERMINATE_CLUSTER")],
            "AutoTerminationPolicy": {"IdleTimeout": _IDLE_S},
            "ServiceRole": spec.service_role,
            "JobFlowRole": spec.instance_profile,
            "VisibleToAllUsers": True,
            "Tags": [{"Key": CLUSTER_TAG, "Value": f"{TEMPORARY}{job.id}"}, _MANAGED],
        }
        if spec.security_configuration != NO_CONFIGURATION:
            parameters["SecurityConfiguration"] = spec.security_configuration
        return AwsCall("emr", "run_job_flow", parameters)

    def costs(self, job: EvaluationJob) -> list[str]:
        count = 1 + self.spec.workers
        return [
            f"{count} x {self.spec.instance_type} and the EMR charge for them, from the start of the cluster to the "
            f"end of its step: {count} instance-hours per hour, billed by the second, at least one minute."
        ]

    def find_job(self, job: EvaluationJob) -> JobId | None:
        cluster = self._find_cluster(job)
        return find_step(self.api, cluster, job) if cluster else None

    def job_id(self, response: dict[str, Any]) -> JobId:
        cluster = response["JobFlowId"]
        for step in self.api.pages("emr", "list_steps", "Steps", "Marker", ClusterId=cluster):
            return JobId(cluster, step["Id"])
        raise AwsUnreachable(f"Cluster {cluster} lists no step yet; see `aws emr list-steps --cluster-id {cluster}`.")

    def clean_up(self, job: EvaluationJob) -> None:
        """Terminate the cluster if it was created. Raises AwsRefused, AwsUnreachable."""
        if cluster := self._find_cluster(job):
            self.api.call("emr", "terminate_job_flows", JobFlowIds=[cluster])

    def _find_cluster(self, job: EvaluationJob) -> str | None:
        # By name, because an interrupt or a broken connection may lose the response with the cluster's ID.
        for cluster in self.api.pages("emr", "list_clusters", "Clusters", "Marker", ClusterStates=_ALIVE):
            if cluster["Name"] == job.name:
                return str(cluster["Id"])
        return None
