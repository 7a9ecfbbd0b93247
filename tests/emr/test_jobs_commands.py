"""status, logs, cancel and fetch, on jobs of every kind."""

import json
import time
from collections.abc import Callable

import pytest

from hybrid_batch.cli import main as command
from tests.conftest import HANG_S
from tests.emr.targets import LOGS, existing, new, serverless
from tests.emr_double import EmrDouble, Outcome

SENTENCE = "s3://b/run=x/part-00000.parquet is not a readable Parquet file; remove it."
TARGETS = {"a step": existing, "a new cluster": new, "a job run": serverless}
Submit = Callable[..., str]


@pytest.fixture
def submit(double: EmrDouble, make_run: Callable[..., str], capfd: pytest.CaptureFixture[str]) -> Submit:
    """A function that submits a job with an outcome and returns its ID."""

    def submit(target: list[str], outcome: Outcome, *options: str) -> str:
        double.fault_plan.outcome = outcome
        command(["emr", "submit", make_run(), *target, *options])
        return capfd.readouterr().out.strip()

    return submit


@pytest.fixture
def run_emr(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run_emr(*arguments: str) -> tuple[int, str, str]:
        code = command(["emr", *arguments])
        return code, *capfd.readouterr()

    return run_emr


def await_state(run_emr: Callable[..., tuple[int, str, str]], job: str, name: str) -> dict[str, object]:
    end = time.monotonic() + HANG_S
    while True:
        _, out, _ = run_emr("status", job, "--json")
        state: dict[str, object] = json.loads(out)
        if state["state"] == name:
            return state
        assert time.monotonic() < end, state
        time.sleep(0.01)


@pytest.mark.parametrize("target", TARGETS)
def test_a_running_job_is_cancelled(
    target: str, double: EmrDouble, submit: Submit, run_emr: Callable[..., tuple[int, str, str]]
) -> None:
    job = submit(TARGETS[target](double), Outcome("never"))
    running = await_state(run_emr, job, "RUNNING")
    assert running["result"].startswith("s3://emr/hybrid-batch-emr/jobs/")
    code, _, err = run_emr("fetch", job)
    assert code == 1
    assert "contains no report; the job runs or has failed" in err
    assert run_emr("cancel", job)[0] == 0
    assert await_state(run_emr, job, "CANCELLED")["ended"] is True
    assert run_emr("cancel", job)[0] == 0  # a second cancel does nothing
    for cluster in double.clusters.all.values():
        assert cluster.ending.is_set() == cluster.is_temporary


@pytest.mark.parametrize("target", TARGETS)
def test_the_logs_are_printed_completely_or_as_one_line(
    target: str, double: EmrDouble, submit: Submit, run_emr: Callable[..., tuple[int, str, str]]
) -> None:
    job = submit(TARGETS[target](double), Outcome("fail", f"Warning: slow\nhybrid-batch: {SENTENCE}\n"))
    assert await_state(run_emr, job, "FAILED")["succeeded"] is False
    code, out, _ = run_emr("logs", job)
    assert code == 0
    assert "Warning: slow" in out
    assert run_emr("logs", job, "--line") == (0, f"{SENTENCE}\n", "")


def test_missing_logs_are_one_sentence(
    double: EmrDouble, submit: Submit, run_emr: Callable[..., tuple[int, str, str]]
) -> None:
    job = submit(existing(double), Outcome("never"))
    assert f"No logs of {job} are in s3://emr/logs yet; try again in some minutes." in run_emr("logs", job)[2]
    job = submit(["--cluster", double.add_cluster(None).id], Outcome("never"))
    assert f"EMR stores no logs of {job} in S3; set a log URI" in run_emr("logs", job)[2]


def test_logs_without_an_error_are_one_sentence(
    double: EmrDouble, submit: Submit, run_emr: Callable[..., tuple[int, str, str]]
) -> None:
    job = submit(
        ["--cluster", double.add_cluster(LOGS).id], Outcome("run"), "--engine", "mrjob", "--python", "/bin/true"
    )
    await_state(run_emr, job, "COMPLETED")
    code, _, err = run_emr("logs", job, "--line")
    assert code == 1
    assert f"No line of the logs of {job} explains a failure; print all logs without --line." in err


@pytest.mark.parametrize("subcommand", ["status", "logs", "cancel", "fetch"])
@pytest.mark.parametrize(
    ("job", "code", "message"),
    [
        ("j-1", 2, "'j-1' is not the ID of an EMR job; give j-CLUSTER/s-STEP or APPLICATION/JOBRUN as printed"),
        ("j-NONE/s-NONE", 1, "Cluster id 'j-NONE' is not valid"),
        ("00nowhere0000000/0000000000000000", 1, "Application 00nowhere0000000 does not exist"),
    ],
)
def test_a_job_that_does_not_exist_is_one_sentence(
    subcommand: str, job: str, code: int, message: str, double: EmrDouble, run_emr: Callable[..., tuple[int, str, str]]
) -> None:
    exit_code, out, err = run_emr(subcommand, job)
    assert (exit_code, out) == (code, "")
    assert message in err
    assert err.count("\n") == 1
