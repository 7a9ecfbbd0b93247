"""status, logs, cancel and fetch, on jobs of every kind."""

import json
import time
from collections.abc import Callable

import pytest

from hybrid_batch.cli import main as command
from tests.conftest import HANG_S
from tests.emr.places import LOGS, new, serverless, standing
from tests.emr_double import EmrDouble, Fate

SENTENCE = "s3://b/run=x/part-00000.parquet is not a readable Parquet file; remove it."
PLACES = {"a step": standing, "a new cluster": new, "a job run": serverless}
Submit = Callable[..., str]


@pytest.fixture
def submit(double: EmrDouble, make_run: Callable[..., str], capfd: pytest.CaptureFixture[str]) -> Submit:
    """Submits a job that meets its fate, and gives its name."""

    def submit(where: list[str], fate: Fate, *more: str) -> str:
        double.trouble.fate = fate
        command(["emr", "submit", make_run(), *where, *more])
        return capfd.readouterr().out.strip()

    return submit


@pytest.fixture
def say(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def say(*arguments: str) -> tuple[int, str, str]:
        code = command(["emr", *arguments])
        return code, *capfd.readouterr()

    return say


def await_state(say: Callable[..., tuple[int, str, str]], job: str, word: str) -> dict[str, object]:
    end = time.monotonic() + HANG_S
    while True:
        _, out, _ = say("status", job, "--json")
        state: dict[str, object] = json.loads(out)
        if state["state"] == word:
            return state
        assert time.monotonic() < end, state
        time.sleep(0.01)


@pytest.mark.parametrize("place", PLACES)
def test_a_job_is_seen_cancelled_and_gone(
    place: str, double: EmrDouble, submit: Submit, say: Callable[..., tuple[int, str, str]]
) -> None:
    job = submit(PLACES[place](double), Fate("never"))
    running = await_state(say, job, "RUNNING")
    assert running["result"].startswith("s3://emr/hybrid-batch-emr/jobs/")
    code, _, err = say("fetch", job)
    assert code == 1
    assert "There is no report in s3://emr/" in err
    assert say("cancel", job)[0] == 0
    assert await_state(say, job, "CANCELLED")["ended"] is True
    assert say("cancel", job)[0] == 0  # once more does nothing
    for cluster in double.clusters.all.values():
        assert cluster.ending.is_set() == bool(cluster.tags)


@pytest.mark.parametrize("place", PLACES)
def test_the_logs_of_a_job_are_printed_whole_or_their_one_line(
    place: str, double: EmrDouble, submit: Submit, say: Callable[..., tuple[int, str, str]]
) -> None:
    job = submit(PLACES[place](double), Fate("fail", f"Warning: slow\nhybrid-batch: {SENTENCE}\n"))
    assert await_state(say, job, "FAILED")["succeeded"] is False
    code, out, _ = say("logs", job)
    assert code == 0
    assert "Warning: slow" in out
    assert say("logs", job, "--line") == (0, f"{SENTENCE}\n", "")


def test_logs_that_are_not_there_are_told(
    double: EmrDouble, submit: Submit, say: Callable[..., tuple[int, str, str]]
) -> None:
    job = submit(standing(double), Fate("never"))
    assert "There are no logs of" in say("logs", job)[2]
    job = submit(["--cluster", double.add_cluster(None).id], Fate("never"))
    assert "EMR keeps no logs of" in say("logs", job)[2]


def test_a_log_that_says_nothing_is_told(
    double: EmrDouble, submit: Submit, say: Callable[..., tuple[int, str, str]]
) -> None:
    job = submit(["--cluster", double.add_cluster(LOGS).id], Fate("run"), "--engine", "mrjob", "--python", "/bin/true")
    await_state(say, job, "COMPLETED")
    code, _, err = say("logs", job, "--line")
    assert code == 1
    assert "No line of the logs" in err


@pytest.mark.parametrize("verb", ["status", "logs", "cancel", "fetch"])
@pytest.mark.parametrize(
    ("job", "code", "said"),
    [
        ("j-1", 2, "'j-1' names no job on EMR; give j-CLUSTER/s-STEP or APPLICATION/JOBRUN"),
        ("j-NONE/s-NONE", 1, "Cluster id 'j-NONE' is not valid"),
        ("00nowhere0000000/0000000000000000", 1, "Application 00nowhere0000000 does not exist"),
    ],
)
def test_a_job_that_does_not_exist_is_one_sentence(
    verb: str, job: str, code: int, said: str, double: EmrDouble, say: Callable[..., tuple[int, str, str]]
) -> None:
    got, out, err = say(verb, job)
    assert (got, out) == (code, "")
    assert said in err
    assert err.count("\n") == 1
