"""Requests to EMR: retries, timeouts, pages and permissions."""

import threading
from collections.abc import Callable

import pytest

from hybrid_batch.cli import main as command
from hybrid_batch.data.aws.aws_client import AwsCall
from hybrid_batch.data.errors import AwsUnreachable
from hybrid_batch.emr.api import open_api
from tests.emr.targets import LOGS, existing, new, serverless
from tests.emr_double import EmrDouble, Fault, Outcome
from tests.emr_double.policy import POLICY


def test_a_request_without_response_times_out(double: EmrDouble) -> None:
    later = threading.Event()
    double.fault_plan.faults.append(Fault("ListClusters", until=later))
    with pytest.raises(AwsUnreachable, match=r"does not respond to list_clusters .*[Tt]imeout"):
        open_api(timeout_s=0.2).call_once(AwsCall("emr", "list_clusters", {}))
    later.set()
    assert double.requests == ["ListClusters"]  # no retry by botocore


def test_a_throttled_safe_request_is_repeated(double: EmrDouble) -> None:
    double.fault_plan.faults.append(Fault("ListClusters", "ThrottlingException", times=2))
    assert open_api().call("emr", "list_clusters")["Clusters"] == []
    assert double.requests == ["ListClusters"] * 3


def test_all_pages_of_a_listing_are_read(double: EmrDouble) -> None:
    cluster = double.add_cluster(LOGS)
    double.fault_plan.outcome = Outcome("never")
    step = {"Name": "x", "ActionOnFailure": "CONTINUE", "HadoopJarStep": {"Jar": "command-runner.jar", "Args": []}}
    api = open_api()
    api.call_once(AwsCall("emr", "add_job_flow_steps", {"JobFlowId": cluster.id, "Steps": [step] * 3}))
    found = list(api.pages("emr", "list_steps", "Steps", "Marker", ClusterId=cluster.id))
    assert len({one["Id"] for one in found}) == 3


def test_every_permission_of_the_policy_is_used(
    double: EmrDouble, make_run: Callable[..., str], capfd: pytest.CaptureFixture[str]
) -> None:
    double.fault_plan.outcome = Outcome("never")
    for target in (existing, new, serverless):
        assert command(["emr", "submit", make_run(), *target(double)]) == 0
        assert command(["emr", "cancel", capfd.readouterr().out.split()[-1]]) == 0
    actions = [statement["Action"] for statement in POLICY["Statement"]]
    granted = {name for action in actions for name in ([action] if isinstance(action, str) else action)}
    assert double.policy.used == {name for name in granted if not name.startswith("s3:")}
