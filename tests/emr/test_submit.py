"""Jobs submitted with --wait and executed by the double, up to the fetched report."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from hybrid_batch.cli import main as command
from hybrid_batch.evaluation.output.canonical_json import to_json
from hybrid_batch.jobs import evaluate_inline as inline
from hybrid_batch.jobs.input.part_list import list_parts
from tests.emr.targets import existing, new, serverless
from tests.emr_double import EmrDouble, Outcome

TARGETS = {
    "a step with mrjob": (existing, ["--engine", "mrjob"]),
    "a new cluster with spark": (new, []),
    "serverless with spark": (serverless, []),
}


SLICED = ["--by", "batch", "--skip-unreadable"]


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("name", TARGETS)
def test_the_report_is_that_of_the_inline_engine(
    name: str, double: EmrDouble, make_run: Callable[..., str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import boto3

    double.fault_plan.outcome, uri = Outcome(until_polled=True), make_run()
    key = f"{uri.removeprefix('s3://emr/')}/part-00001.parquet"
    boto3.client("s3").put_object(Bucket="emr", Key=key, Body=b"PAR1")
    target, options = TARGETS[name]
    arguments = ["emr", "submit", uri, *target(double), *options, *SLICED, "--wait", "--poll-interval", "0.1", "--json"]
    code = command([*arguments, "--output", str(tmp_path / "out")])
    out, err = capfd.readouterr()
    assert code == 0, err
    assert sha256(out.strip()) == sha256(
        to_json(inline.evaluate(list_parts([uri]).parts, ["batch"], skip_unreadable=True))
    )
    assert (tmp_path / "out" / "report.json").read_text() == out
    _check_states(double, err)

    request_count = len(double.requests)
    assert command(arguments) == 0
    second, err = capfd.readouterr()
    assert (second, "already contains the report; nothing is submitted." in err) == (out, True)
    assert not {"RunJobFlow", "AddJobFlowSteps", "StartJobRun"} & set(double.requests[request_count:])


def _check_states(double: EmrDouble, err: str) -> None:
    for cluster in double.clusters.all.values():
        assert cluster.history[:2] == ["STARTING", "BOOTSTRAPPING"]
        if cluster.is_temporary:
            assert cluster.ending.is_set() or cluster.state.startswith("TERMINAT")
        assert cluster.steps[0].state == "COMPLETED"
        assert "RUNNING\n" in err
    for job_run in double.serverless.runs.values():
        assert job_run.history == ["SUBMITTED", "PENDING", "SCHEDULED", "RUNNING", "SUCCESS"]


def test_a_part_that_cannot_be_counted_is_named(
    double: EmrDouble, make_run: Callable[..., str], capfd: pytest.CaptureFixture[str]
) -> None:
    import boto3

    uri = make_run()
    key = f"{uri.removeprefix('s3://emr/')}/part-00002.parquet"
    boto3.client("s3").put_object(Bucket="emr", Key=key, Body=b"PAR1")
    wait = ["--engine", "mrjob", "--wait", "--poll-interval", "0.1"]
    assert command(["emr", "submit", uri, *existing(double), *wait]) == 2
    assert re.search(rf"{uri}/part-00002\.parquet .*not a readable Parquet file", capfd.readouterr().err)
