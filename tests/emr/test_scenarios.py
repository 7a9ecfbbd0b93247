"""Every failure on EMR ends with its exit code and one sentence, and leaves no cluster running."""

import re
import threading
import time
from collections.abc import Callable

import pytest

from hybrid_batch.cli import main as command
from tests.emr.scenarios import ENOUGH_S, SCENARIOS, Scenario
from tests.emr.targets import new
from tests.emr_double import EmrDouble, Fault, Outcome


@pytest.fixture(scope="session")
def far_bucket(ministack: str) -> None:
    import boto3

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", "test")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "test")
        s3 = boto3.client("s3", endpoint_url=ministack, region_name="eu-west-1")
    s3.create_bucket(Bucket="emr-far", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})


class Clock:
    """The clock of the command."""

    def __init__(self, double: EmrDouble, scenario: Scenario) -> None:
        self._double, self._scenario, self._now = double, scenario, 0.0

    def monotonic(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        due = not self._scenario.until or self._scenario.until in states(self._double)
        time.sleep(seconds)
        self._now += due * self._scenario.timeout_s if self._scenario.timeout_s < ENOUGH_S else seconds


def states(double: EmrDouble) -> set[str]:
    steps = [step.state for cluster in double.clusters.all.values() for step in cluster.steps]
    return {*steps, *(job_run.state for job_run in double.serverless.runs.values())}


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_failure_is_one_sentence_and_leaves_no_cluster(
    name: str,
    double: EmrDouble,
    far_bucket: None,
    make_run: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    scenario = SCENARIOS[name]
    monkeypatch.setattr("hybrid_batch.emr.jobs.watch.time", Clock(double, scenario))
    target, uri = scenario.target(double), make_run()
    double.fault_plan.outcome = scenario.outcome
    double.fault_plan.faults.extend(Fault(**vars(fault)) for fault in scenario.faults)
    for variable, value in scenario.environment:
        monkeypatch.setenv(variable, value) if value else monkeypatch.delenv(variable)
    wait = ["--wait", "--poll-interval", "0.02", "--timeout", str(scenario.timeout_s)]
    code = command(["emr", "submit", uri, *target, *wait, *scenario.options])
    out, err = capfd.readouterr()
    (sentence,) = [line for line in err.splitlines() if line.startswith("hybrid-batch: ")]
    assert re.search(scenario.message, sentence), err
    assert (code, out, "Traceback" in err) == (scenario.code, "", False)
    assert err.rstrip().endswith(sentence)
    for cluster in double.clusters.all.values():
        if cluster.is_temporary:
            double.clusters.await_end(cluster)


class Loss(threading.Event):
    """An event whose `wait` ends every cluster."""

    def __init__(self, double: EmrDouble) -> None:
        super().__init__()
        self._double = double

    def wait(self, timeout: float | None = None) -> bool:
        for cluster in self._double.clusters.all.values():
            self._double.clusters.end(cluster, "INSTANCE_FAILURE", "All core instances were lost")
            self._double.clusters.await_end(cluster)
        return True


def test_a_cluster_lost_between_two_requests_gives_its_reason(
    double: EmrDouble, make_run: Callable[..., str], capfd: pytest.CaptureFixture[str]
) -> None:
    """The cluster is healthy in its own response, and gone in that about its step."""
    double.fault_plan.outcome = Outcome("stuck")
    double.fault_plan.faults.append(Fault("DescribeStep", "ThrottlingException", until=Loss(double)))
    assert command(["emr", "submit", make_run(), *new(double), "--wait", "--poll-interval", "0.02"]) == 1
    assert "INSTANCE_FAILURE: All core instances were lost" in capfd.readouterr().err
