"""The template: valid, with narrow permissions, created completely by a local AWS and deleted."""

import hashlib
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from hybrid_batch.inference.cloud.stack.stack import TEMPLATE
from tests.cloud.template import read_template, without

NAME = "templates"
BUCKET = f"{NAME}-000000000000-us-east-1"
# The local AWS lacks alarms on metric math; only cfn-lint has checked this one.
UNKNOWN = "BacklogWithoutWorkers"
ALL = {
    "Bundle": "b" * 64,
    "Package": "packages/x.zip",
    "PackageSha256": "0" * 64,
    "WithFunction": "yes",
    "Api": "token",
    "TokenSha256": "0" * 64,
    "WithUrl": "yes",
    "WithTrigger": "yes",
    "WithQueue": "yes",
}


@pytest.mark.slow
def test_the_template_is_valid() -> None:
    program = Path(sys.executable).parent / "cfn-lint"
    done = subprocess.run([program, TEMPLATE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def statements(value: Any) -> Iterator[dict[str, Any]]:
    """The statements of all policies in the template."""
    if isinstance(value, dict):
        if "Effect" in value:
            yield value
        for item in value.values():
            yield from statements(item)
    elif isinstance(value, list):
        for item in value:
            yield from statements(item)


def test_no_permission_applies_to_all_resources() -> None:
    allowed = [one for one in statements(read_template()) if one["Effect"] == "Allow" and "Resource" in one]
    assert len(allowed) > 11
    for statement in allowed:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        assert not [action for action in actions if "*" in action], statement
        resources = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
        for resource in resources:
            named = resource.get("Sub") or resource.get("GetAtt")
            assert named, statement
            assert not named.startswith("*")
            # A star may only follow the name of the deployment or of its API.
            assert "*" not in named.split("${")[0], statement


def test_temporary_objects_expire() -> None:
    bucket = read_template()["Resources"]["Bucket"]["Properties"]
    rules = {rule.get("Prefix"): rule.get("ExpirationInDays") for rule in bucket["LifecycleConfiguration"]["Rules"]}
    assert rules == {"spill/": 1, "trigger/in/": 1, "trigger/out/": 1, "": None}
    logs = read_template()["Resources"]["AccessLogs"]["Properties"]
    for one in (bucket, logs):
        assert set(one["PublicAccessBlockConfiguration"].values()) == {True}
        assert one["BucketEncryption"]
    # The local AWS ignores it.
    assert bucket["LoggingConfiguration"]["DestinationBucketName"] == {"Ref": "AccessLogs"}


def test_the_function_does_not_depend_on_the_bucket() -> None:
    """The bucket depends on the function's permission; AWS would find a cycle only with the trigger."""
    resources = read_template()["Resources"]

    def named(value: Any) -> set[str]:
        if isinstance(value, dict):
            found = {str(value.get("Ref", "")), str(value.get("GetAtt", "")).split(".")[0]}
            if isinstance(text := value.get("Sub"), str):
                found |= {part.split("}")[0].split(".")[0] for part in text.split("${")[1:]}
            return found.union(*map(named, value.values()))
        return set().union(*map(named, value)) if isinstance(value, list) else set()

    def needs(name: str, seen: set[str]) -> set[str]:
        resource = resources[name]
        depends = resource.get("DependsOn", [])
        direct = named(resource) | set([depends] if isinstance(depends, str) else depends)
        for other in (direct & set(resources)) - seen:
            seen.add(other)
            needs(other, seen)
        return seen

    assert "TriggerPermission" in needs("Bucket", set())
    for name in resources:
        assert name not in needs(name, set())


def test_the_user_data_script_starts_a_worker(tmp_path: Path) -> None:
    data = read_template()["Resources"]["WorkerTemplate"]["Properties"]["LaunchTemplateData"]
    script = data["UserData"]["Fn::Base64"]["Sub"]
    for name, value in (("AWS::Region", "eu-west-1"), ("AWS::StackName", "n"), ("Bucket", "b"), ("Python", "3.12")):
        script = script.replace(f"${{{name}}}", value)
    content = b"a package"
    script = script.replace("${Package}", "packages/x.zip")
    script = script.replace("${PackageSha256}", hashlib.sha256(content).hexdigest())
    assert "${" not in script
    assert subprocess.run(["/bin/bash", "-n"], input=script, text=True, check=False).returncode == 0
    programs = tmp_path / "bin"
    programs.mkdir()
    for program in ("dnf", "aws", "python3.12", "systemctl", "shutdown", "rm"):
        (programs / program).write_text(f'#!/bin/bash\necho {program} "$@" >>{tmp_path}/called\n')
        (programs / program).chmod(0o755)
    downloaded = tmp_path / "package.zip"
    downloaded.write_bytes(content)
    for place, other in (
        ("/etc/systemd/system", str(tmp_path)),
        ("/opt/package.zip", str(downloaded)),
        ("if ! [ -x /usr/bin/python3.12 ]", "if true"),
        ("/usr/bin/python3.12 -I", f"{programs}/python3.12 -I"),
    ):
        script = script.replace(place, other)
    run = ["/bin/bash", "-c", script]
    assert subprocess.run(run, env={"PATH": f"{programs}:/usr/bin:/bin"}, check=False).returncode == 0
    called = (tmp_path / "called").read_text()
    assert "aws s3 cp --only-show-errors --region eu-west-1 s3://b/packages/x.zip" in called
    assert called.endswith("systemctl enable --now hybrid-batch.service\n")
    assert "--disablerepo=* --enablerepo=amazonlinux --setopt=gpgcheck=1" in called
    assert called.index("aws s3 cp") < called.index(f"python3.12 -I -m zipfile -e {downloaded}")
    unit = (tmp_path / "hybrid-batch.service").read_text()
    assert "ExecStart=/usr/bin/python3.12 -m hybrid_batch.inference.serving.sqs.main --queue n\n" in unit
    downloaded.write_bytes(b"another package")
    (tmp_path / "called").unlink()
    assert subprocess.run(run, env={"PATH": f"{programs}:/usr/bin:/bin"}, check=False, capture_output=True).returncode
    refused = (tmp_path / "called").read_text()
    assert "zipfile" not in refused, "a package with another hash is not unpacked"
    assert refused.endswith("shutdown -h now\n")
    (programs / "aws").write_text("#!/bin/bash\nexit 1\n")
    assert subprocess.run(run, env={"PATH": f"{programs}:/usr/bin:/bin"}, check=False).returncode != 0
    assert (tmp_path / "called").read_text().endswith("shutdown -h now\n")


def parameters(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"ParameterKey": key, "ParameterValue": value} for key, value in values.items()]


@pytest.fixture
def stack(aws: str, existing_resources: Callable[[], set[str]]) -> Iterator[Callable[..., dict[str, Any]]]:
    """Creates the stack, bucket first, and returns its outputs; at the end it is deleted and nothing may be left."""
    import boto3

    cloudformation, s3 = boto3.client("cloudformation"), boto3.client("s3")
    before = existing_resources()
    text = {"TemplateBody": without(UNKNOWN), "Capabilities": ["CAPABILITY_IAM"], "StackName": NAME}
    wait = {"Delay": 1, "MaxAttempts": 60}

    def make(**values: str) -> dict[str, Any]:
        cloudformation.create_stack(**text, Parameters=parameters({"Bundle": ALL["Bundle"]}))
        cloudformation.get_waiter("stack_create_complete").wait(StackName=NAME, WaiterConfig=wait)
        package = io.BytesIO()
        with zipfile.ZipFile(package, "w") as content:
            content.writestr(
                "hybrid_batch/inference/cloud/function/handler.py", "def handle(event, context):\n    return {}\n"
            )
        s3.put_object(Bucket=BUCKET, Key=ALL["Package"], Body=package.getvalue())
        cloudformation.update_stack(**text, Parameters=parameters(ALL | values))
        cloudformation.get_waiter("stack_update_complete").wait(StackName=NAME, WaiterConfig=wait)
        (answer,) = cloudformation.describe_stacks(StackName=NAME)["Stacks"]
        return {one["OutputKey"]: one["OutputValue"] for one in answer["Outputs"]}

    yield make
    s3.delete_object(Bucket=BUCKET, Key=ALL["Package"])
    cloudformation.delete_stack(StackName=NAME)
    cloudformation.get_waiter("stack_delete_complete").wait(StackName=NAME, WaiterConfig=wait)
    assert existing_resources() == before


def test_the_complete_stack_is_created_and_deleted(stack: Callable[..., dict[str, Any]]) -> None:
    import boto3

    outputs = stack()
    assert outputs["Lambda"] == f"lambda:{NAME}"
    assert outputs["Queue"] == f"sqs:{NAME}"
    assert outputs["Trigger"] == f"s3-trigger:s3://{BUCKET}/trigger/{{user}}"
    assert outputs["AccessLogs"].startswith(f"{NAME}-accesslogs-")
    (api,) = (one for one in boto3.client("apigatewayv2").get_apis()["Items"] if one["Name"] == NAME)
    (stage,) = boto3.client("apigatewayv2").get_stages(ApiId=api["ApiId"])["Items"]
    assert stage["AccessLogSettings"]["DestinationArn"].rstrip(":*").endswith(f"/aws/vendedlogs/apis/{NAME}")
    assert set(json.loads(stage["AccessLogSettings"]["Format"])) >= {"address", "status", "path", "time"}
    assert "uthorization" not in stage["AccessLogSettings"]["Format"]
    assert outputs["Api"].startswith("http")
    assert ".lambda-url." in outputs["Url"]
    made = boto3.client("cloudformation").describe_stack_resources(StackName=NAME)["StackResources"]
    assert {one["LogicalResourceId"] for one in made} == set(read_template()["Resources"]) - {UNKNOWN}

    sqs = boto3.client("sqs")
    queue = sqs.get_queue_url(QueueName=NAME)["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    assert json.loads(attributes["RedrivePolicy"])["maxReceiveCount"] == 5
    assert attributes["MessageRetentionPeriod"] == "3600"
    (group,) = boto3.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[NAME])[
        "AutoScalingGroups"
    ]
    assert (group["MinSize"], group["MaxSize"], group["DesiredCapacity"]) == (0, 15, 0)
    notification = boto3.client("s3").get_bucket_notification_configuration(Bucket=BUCKET)
    (trigger,) = notification["LambdaFunctionConfigurations"]
    assert trigger["Filter"]["Key"]["FilterRules"] == [{"Name": "prefix", "Value": "trigger/in/"}]
    groups = boto3.client("logs").describe_log_groups(logGroupNamePrefix=f"/aws/lambda/{NAME}")["logGroups"]
    assert {one["logGroupName"]: one["retentionInDays"] for one in groups} == {
        f"/aws/lambda/{NAME}": 14,
        f"/aws/lambda/{NAME}-authorizer": 14,
    }


@pytest.mark.parametrize(
    ("values", "missing"),
    [
        ({"WithQueue": "no", "Architecture": "arm64"}, {"Queue", "DeadLetters", "Workers", "WorkerTemplate"}),
        (
            {"WithFunction": "no", "MaxWorkers": "0"},
            {"Function", "HttpApi", "TriggerPermission", "Workers", "BacklogTracking"},
        ),
        ({"Api": "iam", "Concurrency": "2", "WithTrigger": "no"}, {"AuthorizerFunction", "Authorizer"}),
        ({"Api": "no", "WithUrl": "no"}, {"HttpApi", "Authorizer", "Route", "Url"}),
    ],
)
def test_resources_of_other_entry_points_are_left_out(
    values: dict[str, str], missing: set[str], stack: Callable[..., dict[str, Any]], aws: str
) -> None:
    import boto3

    stack(**values)
    made = boto3.client("cloudformation").describe_stack_resources(StackName=NAME)["StackResources"]
    names = {one["LogicalResourceId"] for one in made}
    assert not names & missing
    assert {"Bucket", "BucketPolicy", "AccessLogs"} <= names
