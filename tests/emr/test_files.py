"""The files for EMR, CloudFormation, IAM and mrjob, each used by its consumer."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hybrid_batch.emr.commands.submit import submit
from hybrid_batch.jobs.evaluate_mrjob import EvaluateRuns
from tests.cloud.template import without
from tests.emr_double.faults import AwsError
from tests.emr_double.policy import ACCOUNT, POLICY, Policy, resource_tags
from tests.factories.records import random_records, write_run

EMR = Path(__file__).parents[2] / "emr"


def test_the_template_passes_cfn_lint() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "cfn-lint", EMR / "cluster.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_template_creates_the_default_roles_of_submit(aws: str) -> None:
    import boto3

    parameters = [{"ParameterKey": "Bucket", "ParameterValue": "b"}]
    stacks, iam = boto3.client("cloudformation"), boto3.client("iam")
    stacks.create_stack(
        StackName="roles",
        TemplateBody=without("Security", path=EMR / "cluster.yaml").replace("!Ref Security", "HybridBatch"),
        Parameters=parameters,
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    stacks.get_waiter("stack_create_complete").wait(StackName="roles", WaiterConfig={"Delay": 1})
    defaults = {option.name: option.default for option in submit.params}
    assert iam.get_role(RoleName=defaults["service_role"])["Role"]["RoleName"] == "HybridBatchEmr"
    profile = iam.get_instance_profile(InstanceProfileName=defaults["instance_profile"])["InstanceProfile"]
    assert profile["Roles"][0]["RoleName"] == "HybridBatchEc2"
    (output,) = stacks.describe_stacks(StackName="roles")["Stacks"][0]["Outputs"]
    assert output["OutputValue"].endswith(":role/HybridBatchJob")
    for name in ("HybridBatchEc2", "HybridBatchJob"):
        (attached,) = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
        assert "ReadRunsAndWriteResults" in attached["PolicyName"]


def test_the_policy_rejects_other_actions() -> None:
    policy = Policy()
    cluster = f"arn:aws:elasticmapreduce:us-east-1:{ACCOUNT}:cluster/j-1"
    steps, temporary = resource_tags({"hybrid-batch": "steps"}), resource_tags({"hybrid-batch": "job-1"})
    foreign = resource_tags({"team": "billing"})
    policy.require("elasticmapreduce:TerminateJobFlows", cluster, temporary)
    policy.require("elasticmapreduce:AddJobFlowSteps", cluster, steps)
    roles, serverless = f"arn:aws:iam::{ACCOUNT}:role", f"arn:aws:emr-serverless:us-east-1:{ACCOUNT}:/applications"
    for action, resource, keys in [
        ("elasticmapreduce:TerminateJobFlows", cluster, steps),  # a cluster of the user
        ("elasticmapreduce:AddJobFlowSteps", cluster, foreign),
        ("elasticmapreduce:AddJobFlowSteps", cluster, {}),
        ("elasticmapreduce:AddJobFlowSteps", cluster, steps | {"ExecutionRoleArn": "arn:aws:iam::1:role/Admin"}),
        ("elasticmapreduce:ListSteps", cluster, foreign),  # the arguments of steps
        ("elasticmapreduce:CancelSteps", cluster, foreign),
        # A foreign cluster cannot get the tag, nor a cluster of the user the tag of a temporary one.
        ("elasticmapreduce:AddTags", cluster, foreign | {"RequestTag/hybrid-batch": "steps"}),
        ("elasticmapreduce:AddTags", cluster, steps | {"RequestTag/hybrid-batch": "job-1"}),
        ("elasticmapreduce:RunJobFlow", "*", {}),
        ("elasticmapreduce:SetTerminationProtection", cluster, steps),
        ("iam:PassRole", f"{roles}/Admin", {"iam:PassedToService": "elasticmapreduce.amazonaws.com"}),
        ("iam:PassRole", f"{roles}/HybridBatchEmr", {"iam:PassedToService": "ec2.amazonaws.com"}),
        ("iam:PassRole", f"{roles}/HybridBatchJob", {"iam:PassedToService": "lambda.amazonaws.com"}),
        ("emr-serverless:StartJobRun", f"{serverless}/00app1", foreign),
        ("emr-serverless:StartJobRun", f"{serverless}/other", steps),
        ("emr-serverless:CancelJobRun", f"{serverless}/other/jobruns/1", {}),
        ("emr-serverless:DeleteApplication", f"{serverless}/00app1", steps),
        ("s3:GetObject", "arn:aws:s3:::emr/spill/AIDAOTHER/x", {"s3:ResourceAccount": ACCOUNT}),
        ("s3:PutObject", "arn:aws:s3:::emr/hybrid-batch-emr/packages/code.zip", {"s3:ResourceAccount": ACCOUNT}),
        ("s3:PutObject", "arn:aws:s3:::emr/log/run=1/x", {"s3:ResourceAccount": ACCOUNT, "s3:if-none-match": "*"}),
    ]:
        with pytest.raises(AwsError):
            policy.require(action, resource, keys)
    wide = [one["Sid"] for one in POLICY["Statement"] if one["Resource"] == "*" or "*" in one["Action"]]
    # A cluster has no ARN before it exists, and a listing none at all.
    assert wide == ["CreateTaggedClusters", "FindTemporaryClusters"]
    writes = {"s3:ResourceAccount": ACCOUNT, "s3:if-none-match": "*"}
    policy.require("s3:PutObject", "arn:aws:s3:::emr/hybrid-batch-emr/packages/code.zip", writes)
    policy.require("s3:GetObject", "arn:aws:s3:::emr/log/run=1/x", writes)


def run_bootstrap(path: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["/bin/bash", str(EMR / "packaging" / "bootstrap.sh"), *arguments],
        env={"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_bootstrap_script_installs_a_missing_python(tmp_path: Path) -> None:
    python, arguments = tmp_path / "python3.11", tmp_path / "arguments"
    sudo = tmp_path / "sudo"
    sudo.write_text(f'#!/bin/bash\necho "$@" >{arguments}; printf "#!/bin/bash\\n" >{python}; chmod +x {python}\n')
    sudo.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    assert run_bootstrap(path, str(python), str(tmp_path / "machine")).returncode == 0
    assert arguments.read_text() == "dnf install --assumeyes --quiet --setopt=gpgcheck=1 python3.11\n"
    arguments.unlink()
    assert run_bootstrap(path, str(python), str(tmp_path / "machine")).returncode == 0
    assert not arguments.exists()


def test_the_bootstrap_script_accepts_only_packages_with_the_submitted_hash(tmp_path: Path) -> None:
    stored, folder, aws = tmp_path / "code", tmp_path / "machine", tmp_path / "aws"
    stored.write_bytes(b"code")
    aws.write_text(f'#!/bin/bash\n[ "$4" = s3://b/code.zip ] && cp {stored} "$5"\n')
    aws.chmod(0o755)
    python = tmp_path / "python3.11"
    python.write_text("#!/bin/bash\n")
    python.chmod(0o755)
    path, digest = f"{tmp_path}:{os.environ['PATH']}", hashlib.sha256(b"code").hexdigest()
    arguments = (str(python), str(folder), digest, "s3://b/code.zip", "code.zip")
    assert run_bootstrap(path, *arguments).returncode == 0
    assert (folder / "code.zip").read_bytes() == b"code"
    (folder / "code.zip").unlink()
    stored.write_bytes(b"other code")
    done = run_bootstrap(path, *arguments)
    assert done.returncode == 1
    assert f"s3://b/code.zip is not the object that was submitted (SHA-256 {digest})" in done.stderr
    assert list(folder.iterdir()) == []


def test_the_bootstrap_script_rejects_another_version(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/bash\nexec {sys.executable} -c "import sys; sys.version_info = (3, 9, 1)\n${{@:2}}"\n')
    python.chmod(0o755)
    done = run_bootstrap(os.environ["PATH"], str(python), str(tmp_path))
    assert done.returncode == 1
    assert "is not Python 3.11" in done.stderr


def test_mrjob_reads_its_configuration(tmp_path: Path) -> None:
    job = EvaluateRuns(["-r", "hadoop", "--conf-path", str(EMR / "mrjob.conf")])
    job.sandbox()
    with job.make_runner() as runner:
        options = runner._opts
    assert options["python_bin"] == ["/usr/bin/python3.11"]
    assert options["cmdenv"] == {"PYTHONPATH": "environment:code", "PYTHONSAFEPATH": "1"}
    assert options["jobconf"]["mapreduce.job.reduces"] == "1"
    assert not options["bootstrap_mrjob"]


def test_mrjob_runs_with_its_configuration(tmp_path: Path) -> None:
    write_run(str(tmp_path / "run=x"), random_records(50, ["a", "b"]), 20)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "hybrid_batch.jobs.evaluate_mrjob",
            "-r",
            "inline",
            "--conf-path",
            EMR / "mrjob.conf",
            tmp_path,
        ],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["coverage"]["records"] == 50
    assert "Unexpected option" not in done.stderr
