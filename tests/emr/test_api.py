"""The door to EMR: what is asked again, and what is not."""

import threading
from collections.abc import Callable

import pytest

from hybrid_batch.cli import main as command
from hybrid_batch.data.aws.aws_client import Call
from hybrid_batch.data.errors import AwsUnreachable
from hybrid_batch.emr.api import open_api
from tests.emr.places import LOGS, new, serverless, standing
from tests.emr_double import EmrDouble, Fate, Fault
from tests.emr_double.policy import POLICY


def test_a_server_that_never_answers_is_given_up(double: EmrDouble) -> None:
    later = threading.Event()
    double.trouble.faults.append(Fault("ListClusters", until=later))
    with pytest.raises(AwsUnreachable, match=r"does not answer list_clusters .*[Tt]imeout"):
        open_api(timeout_s=0.2).send(Call("emr", "list_clusters", {}))
    later.set()
    assert double.requests == ["ListClusters"]  # and botocore has not asked again by itself


def test_what_may_be_repeated_is(double: EmrDouble) -> None:
    double.trouble.faults.append(Fault("ListClusters", "ThrottlingException", times=2))
    assert open_api().ask("emr", "list_clusters")["Clusters"] == []
    assert double.requests == ["ListClusters"] * 3


def test_all_pages_of_a_listing_are_read(double: EmrDouble) -> None:
    cluster = double.add_cluster(LOGS)
    double.trouble.fate = Fate("never")
    step = {"Name": "x", "ActionOnFailure": "CONTINUE", "HadoopJarStep": {"Jar": "command-runner.jar", "Args": []}}
    api = open_api()
    api.send(Call("emr", "add_job_flow_steps", {"JobFlowId": cluster.id, "Steps": [step] * 3}))
    found = list(api.pages("emr", "list_steps", "Steps", "Marker", ClusterId=cluster.id))
    assert len({one["Id"] for one in found}) == 3


def test_every_right_in_the_policy_is_used(
    double: EmrDouble, make_run: Callable[..., str], capfd: pytest.CaptureFixture[str]
) -> None:
    double.trouble.fate = Fate("never")
    for place in (standing, new, serverless):
        assert command(["emr", "submit", make_run(), *place(double)]) == 0
        assert command(["emr", "cancel", capfd.readouterr().out.split()[-1]]) == 0
    actions = [statement["Action"] for statement in POLICY["Statement"]]
    granted = {name for action in actions for name in ([action] if isinstance(action, str) else action)}
    assert double.policy.used == {name for name in granted if not name.startswith("s3:")}
