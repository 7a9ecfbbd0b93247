"""The plan that --dry-run prints is the one that is carried out, and it is right before a cent is spent."""

import json
import re
from collections.abc import Callable

import pytest

from hybrid_batch.cli import main as command
from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.data.storage.storage import open_storage
from hybrid_batch.emr.packaging.release import architecture_of, check_release
from tests.emr.places import new, serverless, standing
from tests.emr_double import EmrDouble, Fate

PLACES = {"standing": standing, "new": new, "serverless": serverless}
STARTS = {"standing": "add_job_flow_steps", "new": "run_job_flow", "serverless": "start_job_run"}


@pytest.mark.parametrize("place", PLACES)
def test_a_dry_run_does_nothing_and_a_run_does_what_it_said(
    place: str, double: EmrDouble, make_run: Callable[..., str], capfd: pytest.CaptureFixture[str]
) -> None:
    workspace = f"s3://emr/dry-{place}"
    arguments = ["emr", "submit", make_run(), *PLACES[place](double), "--workspace", workspace]
    assert command([*arguments, "--dry-run", "--json"]) == 0
    plan = json.loads(capfd.readouterr().out)
    assert not list(open_storage(workspace).entries())
    assert not {"RunJobFlow", "AddJobFlowSteps", "StartJobRun"} & set(double.requests)
    assert plan["plan"][-1]["do"].split(".")[1] == STARTS[place]
    assert len(plan["costs"]) == 1

    double.trouble.fate = Fate("never", quiet=True)
    assert command(arguments) == 0
    uploads = {step["to"] for step in plan["plan"][:-1]}
    assert {f"{workspace}/{entry.name}" for entry in open_storage(workspace).entries()} == uploads
    asked = plan["plan"][-1]["with"]
    if place == "serverless":
        (job_run,) = double.serverless.runs.values()
        assert job_run.request == asked
    elif place == "new":
        (cluster,) = double.clusters.all.values()
        assert cluster.request == asked
    else:
        (cluster,) = double.clusters.all.values()
        assert cluster.steps[0].config == asked["Steps"][0]


def test_a_plan_is_printed_for_people(
    double: EmrDouble, make_run: Callable[..., str], capfd: pytest.CaptureFixture[str]
) -> None:
    uri = make_run()
    assert command(["emr", "submit", uri, *new(double), "--workers", "4", "--engine", "mrjob", "--dry-run"]) == 0
    out, err = capfd.readouterr()
    assert re.search(r"upload unless it stands: s3://emr/hybrid-batch-emr/packages/environment-x86_64-\w+\.zip", out)
    assert "emr run_job_flow:" in out
    assert "costs: 5 x m5.xlarge" in out
    assert err == "Nothing was done.\n"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "one of --cluster j-…, --create and --serverless APP"),
        (["--create", "--cluster", "j-1"], "one of --cluster"),
        (["--serverless", "app"], "--serverless needs --role"),
        (["--serverless", "app", "--role", "arn", "--engine", "mrjob"], "no Hadoop Streaming"),
        (["--create", "--workspace", "/srv/x"], "cannot use the workspace '/srv/x'"),
        (["--create", "--release", "7.9"], "'7.9' is no EMR release; write it like emr-7.9.0"),
    ],
)
def test_options_that_make_no_sense_are_2(
    options: list[str], said: str, aws: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert command(["emr", "submit", "s3://emr/log/run=x", *options]) == 2
    assert said in capfd.readouterr().err


def test_a_run_of_this_machine_or_of_nobody_is_2(
    double: EmrDouble, bucket: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert command(["emr", "submit", "./log/run=x", "--create"]) == 2
    assert "EMR cannot read './log/run=x'; log to S3" in capfd.readouterr().err
    assert command(["emr", "submit", f"s3://{bucket}/log/run=x", "--create"]) == 2
    assert "There is no run in s3://" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["a1.large", "m6g.xlarge", "c7gn.16xlarge", "x2gd.metal", "im4gn.large", "g5g.xlarge"])
def test_graviton_machines_are_arm64(name: str) -> None:
    assert architecture_of(name) == "arm64"


@pytest.mark.parametrize("name", ["m5.xlarge", "g4dn.xlarge", "c6i.large", "r5ad.large", "p4d.24xlarge", "m7a.large"])
def test_other_machines_are_x86_64(name: str) -> None:
    assert architecture_of(name) == "x86_64"


def test_releases() -> None:
    assert check_release("emr-7.0.0") == "emr-7.0.0"
    assert check_release("emr-10.1.0") == "emr-10.1.0"
    with pytest.raises(WrongUsage, match=r"emr-6\.15\.0 has no Python 3\.11"):
        check_release("emr-6.15.0")
