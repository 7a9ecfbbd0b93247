"""The EMR API: clusters on EC2."""

import threading
import time

from tests.conftest import HANG_S
from tests.emr_double.cluster import Cluster, Step
from tests.emr_double.faults import AwsError, FaultPlan, Json
from tests.emr_double.lifecycle import Lifecycle
from tests.emr_double.machine import Machine
from tests.emr_double.policy import ACCOUNT, TAGGED, Policy, resource_tags, role

ENDED = ("TERMINATED", "TERMINATED_WITH_ERRORS")


class Clusters:
    """The operations of the API by name, called with the region and the parameters of the request."""

    def __init__(self, machine: Machine, trouble: FaultPlan, policy: Policy) -> None:
        self.lifecycle, self.fault_plan, self.policy = Lifecycle(machine), trouble, policy
        self.all: dict[str, Cluster] = {}
        self._count = 0
        self._lock = threading.Lock()

    def RunJobFlow(self, region: str, request: Json) -> Json:  # noqa: N802
        tags = {tag["Key"]: tag["Value"] for tag in request.get("Tags", ())}
        self.policy.require("elasticmapreduce:RunJobFlow", "*", {f"RequestTag/{key}": one for key, one in tags.items()})
        new, own = f"arn:aws:elasticmapreduce:{region}:{ACCOUNT}:cluster/j-new", resource_tags(tags)
        if tags:
            self.policy.require("elasticmapreduce:AddTags", new, own)
        if request.get("AutoTerminationPolicy"):
            self.policy.require("elasticmapreduce:PutAutoTerminationPolicy", new, own)
        for name, service in (("ServiceRole", "elasticmapreduce"), ("JobFlowRole", "ec2")):
            self.policy.require("iam:PassRole", role(request[name]), service=f"{service}.amazonaws.com")
        if not request["ReleaseLabel"].startswith("emr-"):
            raise AwsError("ValidationException", f"The supplied release label is invalid: {request['ReleaseLabel']}.")
        cluster = self.start(region, request)
        return {"JobFlowId": cluster.id, "ClusterArn": self._arn(cluster)}

    def start(self, region: str, request: Json) -> Cluster:
        """Start a cluster and the thread that runs it."""
        cluster = Cluster(self._name("j"), region, request, self.fault_plan.outcome)
        self.all[cluster.id] = cluster
        for config in request.get("Steps", ()):
            self._add(cluster, config)
        threading.Thread(target=self.lifecycle.run, args=(cluster,), daemon=True).start()
        return cluster

    def AddJobFlowSteps(self, region: str, request: Json) -> Json:  # noqa: N802
        cluster = self._find(region, request["JobFlowId"], "AddJobFlowSteps")
        if cluster.state in ENDED or cluster.ending.is_set():
            raise AwsError(
                "ValidationException", "A job flow that is shutting down, terminated, or finished may not be modified."
            )
        return {"StepIds": [self._add(cluster, config).id for config in request["Steps"]]}

    def DescribeCluster(self, region: str, request: Json) -> Json:  # noqa: N802
        return {"Cluster": self._find(region, request["ClusterId"], "DescribeCluster").describe()}

    def ListClusters(self, region: str, request: Json) -> Json:  # noqa: N802
        self.policy.require("elasticmapreduce:ListClusters", "*")
        found = [cluster for cluster in self.all.values() if cluster.region == region]
        return {"Clusters": [one.describe() for one in found if one.state in request.get("ClusterStates", [one.state])]}

    def DescribeStep(self, region: str, request: Json) -> Json:  # noqa: N802
        cluster = self._find(region, request["ClusterId"], "DescribeStep")
        return {"Step": self._step(cluster, request["StepId"]).describe()}

    def ListSteps(self, region: str, request: Json) -> Json:  # noqa: N802
        """Return one step per page, so that a caller that ignores pages fails."""
        steps = self._find(region, request["ClusterId"], "ListSteps").steps
        chosen = [step for step in reversed(steps) if step.state in request.get("StepStates", [step.state])]
        start = int(request.get("Marker", 0))
        more = {"Marker": str(start + 1)} if start + 1 < len(chosen) else {}
        return {"Steps": [step.describe() for step in chosen[start : start + 1]]} | more

    def ListInstances(self, region: str, request: Json) -> Json:  # noqa: N802
        cluster = self._find(region, request["ClusterId"], "ListInstances")
        groups = cluster.request["Instances"]["InstanceGroups"]
        types = [group["InstanceType"] for group in groups for _ in range(group["InstanceCount"])]
        return {"Instances": [{"Id": f"ci-{n}", "InstanceType": name} for n, name in enumerate(types)]}

    def CancelSteps(self, region: str, request: Json) -> Json:  # noqa: N802
        cluster = self._find(region, request["ClusterId"], "CancelSteps")
        for name in request["StepIds"]:
            self._step(cluster, name).cancel.set()
        return {"CancelStepsInfoList": [{"StepId": name, "Status": "SUBMITTED"} for name in request["StepIds"]]}

    def TerminateJobFlows(self, region: str, request: Json) -> Json:  # noqa: N802
        for name in request["JobFlowIds"]:
            cluster = self._find(region, name, "TerminateJobFlows")
            self.end(cluster, "USER_REQUEST", "Terminated by user request")
        return {}

    def await_end(self, cluster: Cluster) -> None:
        end = time.monotonic() + HANG_S
        while cluster.state not in ENDED:
            assert time.monotonic() < end, f"{cluster.id} has not ended, {cluster.state}"
            time.sleep(0.01)

    def end(self, cluster: Cluster, code: str, reason: str) -> None:
        cluster.code, cluster.reason = cluster.code or code, cluster.reason or reason
        cluster.ending.set()
        for step in cluster.steps:
            step.cancel.set()
        cluster.pending.put(None)

    def _add(self, cluster: Cluster, config: Json) -> Step:
        step = Step(self._name("s"), config, self.fault_plan.outcome)
        cluster.steps.append(step)
        cluster.pending.put(step)
        return step

    def _find(self, region: str, name: str, operation: str) -> Cluster:
        cluster = self.all.get(name)
        tags = cluster.tags if cluster else TAGGED
        resource = f"arn:aws:elasticmapreduce:{region}:{ACCOUNT}:cluster/{name}"
        self.policy.require(f"elasticmapreduce:{operation}", resource, resource_tags(tags))
        if cluster is None or cluster.region != region:
            raise AwsError("InvalidRequestException", f"Cluster id '{name}' is not valid.")
        return cluster

    def _step(self, cluster: Cluster, name: str) -> Step:
        for step in cluster.steps:
            if step.id == name:
                return step
        raise AwsError("InvalidRequestException", f"Step id '{name}' is not valid.")

    def _name(self, kind: str) -> str:
        with self._lock:
            self._count += 1
            return f"{kind}-{self._count:013d}"

    def _arn(self, cluster: Cluster) -> str:
        return f"arn:aws:elasticmapreduce:{cluster.region}:{ACCOUNT}:cluster/{cluster.id}"
