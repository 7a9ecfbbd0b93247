"""A job happens once, whatever is lost on the way, and what was made for it ends with it."""

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable

import pytest

from hybrid_batch.cli import main as command
from hybrid_batch.data.terminal.defer_sigint import undisturbed
from tests.conftest import COMMAND, HANG_S
from tests.emr.places import new, serverless, standing
from tests.emr_double import EmrDouble, Fate, Fault

FAIL = Fate("fail", "hybrid-batch: no.\n")
WAIT = ["--wait", "--poll", "0.02", "--timeout", str(HANG_S)]
STARTS = {"RunJobFlow": new, "AddJobFlowSteps": standing, "StartJobRun": serverless}


def count_jobs(double: EmrDouble) -> int:
    return sum(len(cluster.steps) for cluster in double.clusters.all.values()) + len(double.serverless.runs)


def results(double: EmrDouble) -> set[str]:
    """Where the jobs were told to leave their result."""
    steps = [step for cluster in double.clusters.all.values() for step in cluster.steps]
    drivers = [job_run.request["jobDriver"]["sparkSubmit"] for job_run in double.serverless.runs.values()]
    arguments = [step.config["HadoopJarStep"]["Args"] for step in steps]
    return {words[-1] for words in (*arguments, *(driver["entryPointArguments"] for driver in drivers))}


@pytest.mark.parametrize("operation", STARTS)
@pytest.mark.parametrize("fault", ["throttled", "lost before", "lost after"])
def test_a_request_that_is_lost_or_refused_for_now_starts_one_job(
    operation: str, fault: str, double: EmrDouble, make_run: Callable[..., str], capfd: pytest.CaptureFixture[str]
) -> None:
    where = STARTS[operation](double)
    double.trouble.fate = Fate("never")
    code = "ThrottlingException" if fault == "throttled" else ""
    double.trouble.faults.append(Fault(operation, code, times=1, acts=fault == "lost after"))
    assert command(["emr", "submit", make_run(), *where, "--json"]) == 0
    handle = json.loads(capfd.readouterr().out)["job"]
    assert count_jobs(double) == 1
    assert command(["emr", "cancel", handle]) == 0


@pytest.mark.parametrize("operation", STARTS)
def test_the_same_command_finds_the_job_that_runs(
    operation: str, double: EmrDouble, make_run: Callable[..., str], capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["emr", "submit", make_run(), *STARTS[operation](double)]
    double.trouble.fate = Fate("never")
    assert [command(arguments), command(arguments)] == [0, 0]
    first, second = capfd.readouterr().out.splitlines()
    assert first == second
    assert count_jobs(double) == 1


@pytest.mark.parametrize("operation", STARTS)
def test_after_a_failure_the_same_command_is_a_new_attempt(
    operation: str, double: EmrDouble, make_run: Callable[..., str], capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["emr", "submit", make_run(), *STARTS[operation](double), *WAIT]
    double.trouble.fate = FAIL
    assert [command(arguments), command(arguments)] == [1, 1]
    assert count_jobs(double) == 2
    assert len(results(double)) == 2


def start(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([*COMMAND, "emr", "submit", *arguments], stdout=-1, stderr=-1, text=True)


def await_running(double: EmrDouble, process: "subprocess.Popen[str]") -> None:
    while not any(step.state == "RUNNING" for cluster in double.clusters.all.values() for step in cluster.steps):
        assert process.poll() is None
        time.sleep(0.02)


def test_an_interrupt_ends_the_cluster_made_for_the_job(double: EmrDouble, make_run: Callable[..., str]) -> None:
    double.trouble.fate, later = Fate("never"), threading.Event()
    process = start(make_run(), *new(double), *WAIT)
    await_running(double, process)
    double.requests.clear()
    double.trouble.faults.append(Fault("ListClusters", "ThrottlingException", times=2, until=later))
    process.send_signal(signal.SIGINT)
    while "ListClusters" not in double.requests:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)  # in the midst of the ending
    later.set()
    out, err = process.communicate(timeout=HANG_S)
    assert (process.returncode, out) == (130, ""), err
    assert "Traceback" not in err
    (cluster,) = double.clusters.all.values()
    double.clusters.await_end(cluster)
    assert cluster.code == "USER_REQUEST"


def test_an_interrupt_leaves_a_cluster_that_stood_before(double: EmrDouble, make_run: Callable[..., str]) -> None:
    double.trouble.fate = Fate("never")
    process = start(make_run(), *standing(double), *WAIT)
    await_running(double, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=HANG_S)
    assert process.returncode == 130, err
    assert "goes on; `hybrid-batch emr cancel j-" in err
    (cluster,) = double.clusters.all.values()
    assert (cluster.state, cluster.steps[0].state) == ("RUNNING", "RUNNING")


def test_an_interrupt_waits_for_the_end_of_an_undisturbed_block() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), undisturbed():
        signal.raise_signal(signal.SIGINT)
        done.append("the rest")
    assert done == ["the rest"]


@pytest.mark.parametrize("fate", [FAIL, Fate("run")])
def test_a_cluster_that_nobody_waits_for_ends_with_its_job(
    fate: Fate, double: EmrDouble, make_run: Callable[..., str]
) -> None:
    double.trouble.fate = fate
    assert command(["emr", "submit", make_run(), *new(double), "--engine", "mrjob"]) == 0
    (cluster,) = double.clusters.all.values()
    double.clusters.await_end(cluster)
    assert cluster.state == ("TERMINATED" if fate.kind == "run" else "TERMINATED_WITH_ERRORS")
    assert cluster.steps[0].state == ("COMPLETED" if fate.kind == "run" else "FAILED")
