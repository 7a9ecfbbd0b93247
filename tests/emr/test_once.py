"""A job starts exactly once whatever request or response is lost, and its own cluster ends with it."""

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable

import pytest

from hybrid_batch.cli import main as command
from hybrid_batch.data.terminal.defer_sigint import defer_sigint
from tests.conftest import COMMAND, HANG_S
from tests.emr.targets import existing, new, serverless
from tests.emr_double import EmrDouble, Fault, Outcome

FAIL = Outcome("fail", "hybrid-batch: no.\n")
WAIT = ["--wait", "--poll-interval", "0.02", "--timeout", str(HANG_S)]
STARTS = {"RunJobFlow": new, "AddJobFlowSteps": existing, "StartJobRun": serverless}


def count_jobs(double: EmrDouble) -> int:
    return sum(len(cluster.steps) for cluster in double.clusters.all.values()) + len(double.serverless.runs)


def results(double: EmrDouble) -> set[str]:
    """The result folders of the jobs."""
    steps = [step for cluster in double.clusters.all.values() for step in cluster.steps]
    drivers = [job_run.request["jobDriver"]["sparkSubmit"] for job_run in double.serverless.runs.values()]
    arguments = [step.config["HadoopJarStep"]["Args"] for step in steps]
    return {words[-1] for words in (*arguments, *(driver["entryPointArguments"] for driver in drivers))}


@pytest.mark.parametrize("operation", STARTS)
@pytest.mark.parametrize("fault", ["throttled", "lost before", "lost after"])
def test_a_lost_or_throttled_request_starts_one_job(
    operation: str, fault: str, double: EmrDouble, make_run: Callable[..., str], capfd: pytest.CaptureFixture[str]
) -> None:
    target = STARTS[operation](double)
    double.fault_plan.outcome = Outcome("never")
    code = "ThrottlingException" if fault == "throttled" else ""
    double.fault_plan.faults.append(Fault(operation, code, times=1, executed=fault == "lost after"))
    assert command(["emr", "submit", make_run(), *target, "--json"]) == 0
    job_id = json.loads(capfd.readouterr().out)["job"]
    assert count_jobs(double) == 1
    assert command(["emr", "cancel", job_id]) == 0


@pytest.mark.parametrize("operation", STARTS)
def test_the_same_command_finds_the_running_job(
    operation: str, double: EmrDouble, make_run: Callable[..., str], capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["emr", "submit", make_run(), *STARTS[operation](double)]
    double.fault_plan.outcome = Outcome("never")
    assert [command(arguments), command(arguments)] == [0, 0]
    first, second = capfd.readouterr().out.splitlines()
    assert first == second
    assert count_jobs(double) == 1


@pytest.mark.parametrize("operation", STARTS)
def test_the_same_command_after_a_failure_is_a_new_attempt(
    operation: str, double: EmrDouble, make_run: Callable[..., str], capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["emr", "submit", make_run(), *STARTS[operation](double), *WAIT]
    double.fault_plan.outcome = FAIL
    assert [command(arguments), command(arguments)] == [1, 1]
    assert count_jobs(double) == 2
    assert len(results(double)) == 2


def start(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([*COMMAND, "emr", "submit", *arguments], stdout=-1, stderr=-1, text=True)


def await_running(double: EmrDouble, process: "subprocess.Popen[str]") -> None:
    while not any(step.state == "RUNNING" for cluster in double.clusters.all.values() for step in cluster.steps):
        assert process.poll() is None
        time.sleep(0.02)


def test_an_interrupt_terminates_the_cluster_of_the_job(double: EmrDouble, make_run: Callable[..., str]) -> None:
    double.fault_plan.outcome, later = Outcome("never"), threading.Event()
    process = start(make_run(), *new(double), *WAIT)
    await_running(double, process)
    double.requests.clear()
    double.fault_plan.faults.append(Fault("ListClusters", "ThrottlingException", times=2, until=later))
    process.send_signal(signal.SIGINT)
    while "ListClusters" not in double.requests:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)  # during the termination
    later.set()
    out, err = process.communicate(timeout=HANG_S)
    assert (process.returncode, out) == (130, ""), err
    assert "Traceback" not in err
    (cluster,) = double.clusters.all.values()
    double.clusters.await_end(cluster)
    assert cluster.code == "USER_REQUEST"


def test_an_interrupt_does_not_change_an_existing_cluster(double: EmrDouble, make_run: Callable[..., str]) -> None:
    double.fault_plan.outcome = Outcome("never")
    process = start(make_run(), *existing(double), *WAIT)
    await_running(double, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=HANG_S)
    assert process.returncode == 130, err
    assert "continues; stop it with `hybrid-batch emr cancel j-" in err
    (cluster,) = double.clusters.all.values()
    assert (cluster.state, cluster.steps[0].state) == ("RUNNING", "RUNNING")


def test_defer_sigint_raises_the_interrupt_after_the_block() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), defer_sigint():
        signal.raise_signal(signal.SIGINT)
        done.append("end")
    assert done == ["end"]


@pytest.mark.parametrize("fate", [FAIL, Outcome("run")])
def test_a_new_cluster_ends_with_its_job_without_wait(
    fate: Outcome, double: EmrDouble, make_run: Callable[..., str]
) -> None:
    double.fault_plan.outcome = fate
    assert command(["emr", "submit", make_run(), *new(double), "--engine", "mrjob"]) == 0
    (cluster,) = double.clusters.all.values()
    double.clusters.await_end(cluster)
    assert cluster.state == ("TERMINATED" if fate.kind == "run" else "TERMINATED_WITH_ERRORS")
    assert cluster.steps[0].state == ("COMPLETED" if fate.kind == "run" else "FAILED")
