"""Jobs submitted with --wait, executed for real by the double, to their fetched report."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from hybrid_batch.cli import main as command
from hybrid_batch.evaluation.report import to_json
from hybrid_batch.jobs import evaluate_inline as inline
from hybrid_batch.jobs.input.part_list import find_work
from tests.emr.places import new, serverless, standing
from tests.emr_double import EmrDouble, Fate

PLACES = {
    "a step with mrjob": (standing, ["--engine", "mrjob"]),
    "a new cluster with spark": (new, []),
    "serverless with spark": (serverless, []),
}


SLICED = ["--by", "batch", "--skip-bad"]


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("place", PLACES)
def test_the_report_is_that_of_the_inline_engine(
    place: str, double: EmrDouble, make_run: Callable[..., str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import boto3

    double.trouble.fate, uri = Fate(shown=True), make_run()
    key = f"{uri.removeprefix('s3://emr/')}/part-00001.parquet"
    boto3.client("s3").put_object(Bucket="emr", Key=key, Body=b"PAR1")
    where, options = PLACES[place]
    arguments = ["emr", "submit", uri, *where(double), *options, *SLICED, "--wait", "--poll", "0.1", "--json"]
    code = command([*arguments, "--output", str(tmp_path / "out")])
    out, err = capfd.readouterr()
    assert code == 0, err
    assert sha256(out.strip()) == sha256(to_json(inline.evaluate(find_work([uri]).parts, ["batch"], skip_bad=True)))
    assert (tmp_path / "out" / "report.json").read_text() == out
    _check_states(double, err)

    asked = len(double.requests)
    assert command(arguments) == 0
    again, err = capfd.readouterr()
    assert (again, "nothing is submitted" in err) == (out, True)
    assert not {"RunJobFlow", "AddJobFlowSteps", "StartJobRun"} & set(double.requests[asked:])


def _check_states(double: EmrDouble, told: str) -> None:
    for cluster in double.clusters.all.values():
        assert cluster.history[:2] == ["STARTING", "BOOTSTRAPPING"]
        if cluster.tags:
            assert cluster.ending.is_set() or cluster.state.startswith("TERMINAT")
        assert cluster.steps[0].state == "COMPLETED"
        assert "RUNNING\n" in told
    for job_run in double.serverless.runs.values():
        assert job_run.history == ["SUBMITTED", "PENDING", "SCHEDULED", "RUNNING", "SUCCESS"]


def test_a_part_that_cannot_be_counted_is_named(
    double: EmrDouble, make_run: Callable[..., str], capfd: pytest.CaptureFixture[str]
) -> None:
    import boto3

    uri = make_run()
    key = f"{uri.removeprefix('s3://emr/')}/part-00002.parquet"
    boto3.client("s3").put_object(Bucket="emr", Key=key, Body=b"PAR1")
    wait = ["--engine", "mrjob", "--wait", "--poll", "0.1"]
    assert command(["emr", "submit", uri, *standing(double), *wait]) == 2
    assert re.search(rf"{uri}/part-00002\.parquet .*not a readable Parquet file", capfd.readouterr().err)
