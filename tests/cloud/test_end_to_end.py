"""End to end on a local AWS: deploy with one command, run through every entry point, evaluate, and destroy."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.lambda_runtime import bare_python
from hybrid_batch.cli import main as command
from tests.conftest import HANG_S, ROOT
from tests.run_logs import read_records

IMAGES = str(ROOT / "data/digits/images")
NAME = "hybrid-batch-end-to-end"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
CUT, WHOLE = ("--split", "c005"), ("--split", "remote")


def create_boundary() -> str:
    """Create the shipped permissions boundary, as an administrator does, and return its ARN."""
    import boto3

    document = (ROOT / "inference/cloud/permissions/boundary.json").read_text().replace("ACCOUNT", "000000000000")
    made = boto3.client("iam").create_policy(PolicyName="HybridBatchBoundary", PolicyDocument=document)
    return str(made["Policy"]["Arn"])


def delete_boundary(arn: str) -> None:
    import boto3

    boto3.client("iam").delete_policy(PolicyArn=arn)


def predictions(log: Path, name: str, *options: str) -> dict[str, tuple[str, float]]:
    """The predictions of a run with the log `name`; checks that its report has the accuracy of its records."""
    place = str(log / name)
    assert command(["run", IMAGES, "--model", "digits", "--log", place, *options]) == 0
    records = read_records(place)
    assert not [record["error"] for record in records if record["error"]]
    assert command(["evaluate", place, "--output", f"{place}-report"]) == 0
    report = json.loads((log / f"{name}-report" / "report.json").read_text())
    right = sum(record["prediction"] == record["label"] for record in records)
    assert report["headline"]["accuracy"]["value"] == right / len(records) > 0.9
    return {record["image"]: (record["prediction"], record["confidence"]) for record in records}


@contextmanager
def workers(bucket: str, folder: Path, count: int) -> Iterator[None]:
    """Worker processes as on the worker instances: with only the package in the bucket."""
    import boto3

    s3 = boto3.client("s3")
    (package,) = s3.list_objects_v2(Bucket=bucket, Prefix="packages/")["Contents"]
    s3.download_file(bucket, package["Key"], str(folder / "package.zip"))
    with zipfile.ZipFile(folder / "package.zip") as content:
        content.extractall(folder / "package")
    own = {"PYTHONPATH": str(folder / "package"), "HYBRID_BATCH_SPILL": f"s3://{bucket}/spill"}
    processes = [
        subprocess.Popen(
            [bare_python(), "-s", "-m", "hybrid_batch.inference.serving.sqs.main", "--queue", NAME],
            env=os.environ | own | {"HYBRID_BATCH_CACHE": str(folder / f"cache-{number}")},
            cwd=folder,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
        totals = [json.loads(process.communicate(timeout=HANG_S)[0]) for process in processes]
    assert all(one["refused"] == one["dropped"] == 0 for one in totals)
    assert sum(one["answered"] for one in totals) > 0


def test_a_dry_run_prints_the_plan_and_changes_nothing(
    wheels: None, aws: str, existing_resources: Callable[[], set[str]], capfd: pytest.CaptureFixture[str]
) -> None:
    before = existing_resources()
    deploy = ["cloud", "deploy", "digits", "--name", NAME, "--python", PYTHON, "--entry-points", "lambda,queue,api"]
    assert command([*deploy, "--dry-run"]) == 2
    assert "boundary arn:aws:iam::000000000000:policy/HybridBatchBoundary does not exist" in capfd.readouterr().err
    assert command(["cloud", "deploy", "digits", "--name", "tails", "--dry-run"]) == 2
    assert "HybridBatchBoundary permits nothing to a deployment named 'tails'" in capfd.readouterr().err
    boundary = create_boundary()
    assert command([*deploy, "--dry-run", "--json"]) == 0
    plan = json.loads(capfd.readouterr().out)
    create, upload, update = plan["plan"]
    assert create["do"] == "cloudformation.create_stack"
    assert upload["to"].startswith(f"s3://{NAME}-000000000000-us-east-1/packages/")
    assert upload["bytes"] > 1e6
    parameters = {one["ParameterKey"]: one.get("ParameterValue") for one in update["with"]["Parameters"]}
    assert parameters["Package"] == "packages/" + upload["to"].rpartition("/")[2]
    assert parameters["TokenSha256"] == "(of a new token)"
    assert parameters["PermissionsBoundary"] == plan["permissions_boundary"] == boundary
    assert parameters["PackageSha256"] in upload["to"]
    assert "bucket of its access logs, kept for 90 days" in plan["resources"]
    costs = plan["costs"]
    assert 0.9 < costs["usd_per_month"] < 1.1
    assert set(costs["usd_per_1000_images"]) == {"lambda", "queue", "api"}
    assert costs["usd_per_1000_images"]["api"] == pytest.approx(
        costs["usd_per_1000_images"]["lambda"] + 0.001 + 0.0002  # 400 bytes of access log for each
    )
    assert command([*deploy, "--dry-run"]) == 0
    out, err = capfd.readouterr()
    assert "USD per month while idle" in out
    assert err == "Nothing was done.\n"
    assert command(deploy) == 2  # stdin is not a terminal
    assert "pass --yes" in capfd.readouterr().err
    assert command([*deploy[:-1], "lambda,api", "--function-timeout", "31", "--yes"]) == 2
    assert command([*deploy[:-1], "lambda,ftp", "--yes"]) == 2
    assert "'ftp' is not one of lambda, api, url, queue, trigger" in capfd.readouterr().err
    delete_boundary(boundary)
    assert existing_resources() == before


def test_every_entry_point_gives_the_predictions_of_a_local_run(
    wheels: None,
    aws: str,
    tmp_path: Path,
    existing_resources: Callable[[], set[str]],
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = existing_resources()
    boundary = create_boundary()
    entry_points = "lambda,api,queue,trigger"
    deploy = [
        "cloud",
        "deploy",
        "digits",
        "--name",
        NAME,
        "--entry-points",
        entry_points,
        "--python",
        PYTHON,
        "--poll-interval",
        "0.1",
    ]
    # The local AWS lacks alarms on metric math, which start the workers; the test starts workers itself.
    deploy += ["--max-workers", "0", "--token-file", str(tmp_path / "token"), "--yes", "--json"]
    assert command(deploy) == 0
    made = json.loads(capfd.readouterr().out)
    tails, bucket = made["tails"], made["spill"].split("/")[2]
    assert command(deploy) == 0
    assert "nothing was changed" in capfd.readouterr().err
    identity = tails["api"].split("//")[1].split(".")[0]
    address = f"{aws}/_aws/execute-api/{identity}/$default"  # not every machine resolves names below localhost

    expected = predictions(tmp_path, "local", *CUT, "--tail", "local")
    whole = predictions(tmp_path, "local-whole", *WHOLE, "--tail", "local")
    assert len(expected) == len(whole) == 360
    with_token = ("--in-flight", "2", "--tail", address, "--token-file", str(tmp_path / "token"))
    assert predictions(tmp_path, "api", *CUT, *with_token) == expected
    assert predictions(tmp_path, "lambda", *CUT, "--in-flight", "2", "--tail", tails["lambda"]) == expected
    with workers(bucket, tmp_path, 2):
        assert predictions(tmp_path, "queue", *CUT, "--tail", tails["queue"], "--spill", made["spill"]) == expected
    # The local AWS runs ten functions at once, and drops an event that was refused three times.
    few = ("--batch-size", "4", "--in-flight", "1")
    assert predictions(tmp_path, "trigger", *WHOLE, *few, "--tail", tails["trigger"]) == whole

    assert command(["run", IMAGES, "--model", "digits", *CUT, "--log", str(tmp_path / "no"), "--tail", address]) == 1
    assert "token" in capfd.readouterr().err.splitlines()[-1]
    assert command(["cloud", "destroy", NAME, "--yes", "--poll-interval", "0.1"]) == 0
    delete_boundary(boundary)
    assert existing_resources() == before
