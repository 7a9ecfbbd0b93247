"""The plan of --dry-run, and the checks of options before anything costs money."""

import json
import re
from collections.abc import Callable

import pytest

from hybrid_batch.cli import main as command
from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.emr.packaging.archives import architecture_of, build_environment, check_release
from tests.emr.targets import existing, new, serverless
from tests.emr_double import EmrDouble, Outcome

TARGETS = {"existing": existing, "new": new, "serverless": serverless}
STARTS = {"existing": "add_job_flow_steps", "new": "run_job_flow", "serverless": "start_job_run"}


@pytest.mark.parametrize("target", TARGETS)
def test_a_run_executes_the_plan_of_the_dry_run(
    target: str, double: EmrDouble, make_run: Callable[..., str], capfd: pytest.CaptureFixture[str]
) -> None:
    build_environment("x86_64")  # its hash is part of the plan
    workspace = f"s3://emr/dry-{target}"
    arguments = ["emr", "submit", make_run(), *TARGETS[target](double), "--workspace", workspace]
    assert command([*arguments, "--dry-run", "--json"]) == 0
    plan = json.loads(capfd.readouterr().out)
    assert not list(open_storage(workspace).list_files())
    assert not {"RunJobFlow", "AddJobFlowSteps", "StartJobRun"} & set(double.requests)
    assert plan["plan"][-1]["do"].split(".")[1] == STARTS[target]
    assert len(plan["costs"]) == 1

    double.fault_plan.outcome = Outcome("never", without_logs=True)
    assert command(arguments) == 0
    uploads = {step["to"] for step in plan["plan"][:-1]}
    assert {f"{workspace}/{entry.name}" for entry in open_storage(workspace).list_files()} == uploads
    request = plan["plan"][-1]["with"]
    if target == "serverless":
        (job_run,) = double.serverless.runs.values()
        assert job_run.request == request
    elif target == "new":
        (cluster,) = double.clusters.all.values()
        assert cluster.request == request
    else:
        (cluster,) = double.clusters.all.values()
        assert cluster.steps[0].config == request["Steps"][0]


def test_a_plan_is_printed_as_text(
    double: EmrDouble, make_run: Callable[..., str], capfd: pytest.CaptureFixture[str]
) -> None:
    uri = make_run()
    assert command(["emr", "submit", uri, *new(double), "--workers", "4", "--engine", "mrjob", "--dry-run"]) == 0
    out, err = capfd.readouterr()
    assert re.search(r"upload unless it exists: s3://emr/hybrid-batch-emr/packages/environment-x86_64-\w+\.zip", out)
    assert "emr run_job_flow:" in out
    assert "costs: 5 x m5.xlarge" in out
    assert err == "Nothing was done.\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "Choose the target with one of --cluster j-…, --create-cluster and --serverless APP."),
        (["--create-cluster", "--cluster", "j-1"], "one of --cluster"),
        (["--serverless", "app"], "--serverless needs --role ARN, the IAM role of the job."),
        (["--serverless", "app", "--role", "arn", "--engine", "mrjob"], "no Hadoop Streaming"),
        (["--create-cluster", "--workspace", "/srv/x"], "cannot use the workspace '/srv/x'"),
        (["--create-cluster", "--release", "7.9"], "'7.9' is not an EMR release; use the form emr-7.9.0."),
    ],
)
def test_contradicting_options_exit_with_2(
    options: list[str], message: str, aws: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert command(["emr", "submit", "s3://emr/log/run=x", *options]) == 2
    assert message in capfd.readouterr().err


def test_a_local_or_missing_run_exits_with_2(double: EmrDouble, bucket: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert command(["emr", "submit", "./log/run=x", "--create-cluster"]) == 2
    assert "EMR cannot read './log/run=x'; log to S3" in capfd.readouterr().err
    assert command(["emr", "submit", f"s3://{bucket}/log/run=x", "--create-cluster"]) == 2
    assert "contains no run: _run.json is missing" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["a1.large", "m6g.xlarge", "c7gn.16xlarge", "x2gd.metal", "im4gn.large", "g5g.xlarge"])
def test_graviton_instances_are_arm64(name: str) -> None:
    assert architecture_of(name) == "arm64"


@pytest.mark.parametrize("name", ["m5.xlarge", "g4dn.xlarge", "c6i.large", "r5ad.large", "p4d.24xlarge", "m7a.large"])
def test_other_instances_are_x86_64(name: str) -> None:
    assert architecture_of(name) == "x86_64"


def test_releases() -> None:
    assert check_release("emr-7.0.0") == "emr-7.0.0"
    assert check_release("emr-10.1.0") == "emr-10.1.0"
    with pytest.raises(WrongUsage, match=r"emr-6\.15\.0 has no Python 3\.11"):
        check_release("emr-6.15.0")
