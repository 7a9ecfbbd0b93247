"""Deploy, status and destroy against a local AWS: steps, their order, and the messages of failures."""

import hashlib
import io
import json
import os
import stat
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hybrid_batch.cli import main as command
from hybrid_batch.data.aws.aws_client import AwsCall, AwsClient
from hybrid_batch.data.aws.poll_schedule import PollSchedule
from hybrid_batch.data.errors import AwsRefused, DeploymentFailed, StorageFailed, WrongUsage
from hybrid_batch.data.storage.ensure_object import EnsureObject
from hybrid_batch.inference.cloud.deploy import apply_deployment, plan_deployment
from hybrid_batch.inference.cloud.deployment_spec import DeploymentSpec, default_name
from hybrid_batch.inference.cloud.destroy import delete_deployment, take_inventory
from hybrid_batch.inference.cloud.packaging.package import Package
from hybrid_batch.inference.cloud.stack import stack as stacks
from hybrid_batch.inference.cloud.stack.api import open_aws
from hybrid_batch.inference.cloud.stack.bucket import Bucket
from hybrid_batch.inference.cloud.stack.stack import (
    TEMPLATE,
    Stack,
    failure_reason,
    find_stack,
    stack_call,
    wait_until_stable,
)
from hybrid_batch.inference.cloud.status import tail_addresses
from hybrid_batch.inference.cloud.token import replace_token_file, token_hash, write_token
from tests.cloud.conftest import list_everything
from tests.cloud.template import without
from tests.conftest import HANG_S, local_aws

NAME = "hybrid-batch-stacks"
BUCKET = f"{NAME}-000000000000-us-east-1"
SCHEDULE = PollSchedule(0.05, HANG_S)


def quiet(_: str) -> None:
    pass


def spec(name: str = NAME, *entry_points: str, **others: Any) -> DeploymentSpec:
    options: dict[str, Any] = {
        "architecture": "x86_64",
        "python": "3.12",
        "memory_mb": 1769,
        "timeout_s": 30,
        "concurrency": 0,
        "auth": "token",
        "cuts": (),
        "max_workers": 0,
        "spot": False,
        "subnets": (),
        "alarm_topic": None,
        "worker_image": None,
        "boundary": "none",
    }
    return DeploymentSpec(name=name, entry_points=frozenset(entry_points or ("lambda", "api")), **(options | others))


def build_package(folder: Path, text: str = "1") -> Package:
    """A zip whose function returns a number."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(
            "hybrid_batch/inference/cloud/function/handler.py", f"def handle(event, context):\n    return {text}\n"
        )
    path = folder / f"package-{text}.zip"
    path.write_bytes(content.getvalue())
    digest = hashlib.sha256(content.getvalue()).hexdigest()
    return Package(path, "lambda-zip", "x86_64", "3.12", hashlib.sha256(text.encode()).hexdigest(), digest, 100, True)


@pytest.fixture
def aws_client(aws: str) -> Iterator[AwsClient]:
    """A client of the local AWS. At the end the deployment is deleted, and nothing else may have changed."""
    before = list_everything()
    aws_client = open_aws()
    yield aws_client
    delete_deployment(aws_client, NAME, SCHEDULE, quiet)
    assert list_everything() == before


def deploy(aws_client: AwsClient, package: Package, requested: DeploymentSpec | None = None) -> tuple[Stack, bool]:
    plan = plan_deployment(aws_client, requested or spec(), package, renew_token=False)
    return apply_deployment(plan, SCHEDULE, quiet)


def packages(bucket: str) -> list[str]:
    import boto3

    return [one["Key"] for one in boto3.client("s3").list_objects_v2(Bucket=bucket, Prefix="packages/")["Contents"]]


def test_the_bucket_is_created_first_then_the_package_uploaded(aws_client: AwsClient, tmp_path: Path) -> None:
    package = build_package(tmp_path)
    plan = plan_deployment(aws_client, spec(), package, renew_token=False)
    create, upload, update = plan.steps()
    assert isinstance(create, AwsCall)
    assert isinstance(upload, EnsureObject)
    assert isinstance(update, AwsCall)
    assert (create.operation, update.operation) == ("create_stack", "update_stack")
    assert upload.uri == f"s3://{BUCKET}/packages/{package.sha256}.zip"
    assert take_inventory(aws_client, NAME).is_empty  # nothing was done yet
    stack, changed = apply_deployment(plan, SCHEDULE, quiet)
    assert changed
    assert stack.outputs["Lambda"] == f"lambda:{NAME}"
    assert packages(BUCKET) == [f"packages/{package.sha256}.zip"]


def test_a_second_deployment_changes_only_differences(aws_client: AwsClient, tmp_path: Path) -> None:
    first, second = build_package(tmp_path), build_package(tmp_path, "2")
    deploy(aws_client, first)
    plan = plan_deployment(aws_client, spec(), first, renew_token=False)
    assert plan.token is None
    assert plan.replaced_bundle() is None
    assert len(plan.steps()) == 2
    assert apply_deployment(plan, SCHEDULE, quiet)[1] is False
    plan = plan_deployment(aws_client, spec(memory_mb=3000), second, renew_token=False)
    assert plan.replaced_bundle() == first.bundle_sha256
    stack, changed = apply_deployment(plan, SCHEDULE, quiet)
    assert changed
    assert stack.parameters["Memory"] == "3000"
    assert packages(BUCKET) == [f"packages/{second.sha256}.zip"]


def test_code_that_another_client_changed_is_reported(
    aws_client: AwsClient, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import boto3

    package = build_package(tmp_path)
    deploy(aws_client, package)
    assert command(["cloud", "status", NAME]) == 0
    capfd.readouterr()
    other = build_package(tmp_path, "666").path.read_bytes()
    boto3.client("lambda").update_function_code(FunctionName=NAME, ZipFile=other)
    assert command(["cloud", "status", NAME, "--json"]) == 1
    printed = capfd.readouterr()
    assert json.loads(printed.out)[0]["changed"] == [NAME]
    assert f"The code of function {NAME} is not that of the deployed package" in printed.err
    assert deploy(aws_client, package)[1], "the same package restores it"
    assert command(["cloud", "status", NAME]) == 0


def deployed_token_hash() -> str:
    """The hash in the environment of the authorizer."""
    import boto3

    found = boto3.client("lambda").get_function_configuration(FunctionName=f"{NAME}-authorizer")
    return str(found["Environment"]["Variables"]["HYBRID_BATCH_TOKEN_SHA256"])


def test_a_token_is_kept_until_it_is_rotated(aws_client: AwsClient, tmp_path: Path) -> None:
    package = build_package(tmp_path)
    plan = plan_deployment(aws_client, spec(), package, renew_token=False)
    assert plan.token
    assert plan.token not in json.dumps(plan.describe()) + repr(plan)
    apply_deployment(plan, SCHEDULE, quiet)
    assert deployed_token_hash() == token_hash(plan.token)
    deploy(aws_client, build_package(tmp_path, "2"))
    assert deployed_token_hash() == token_hash(plan.token)
    renewed = plan_deployment(aws_client, spec(), package, renew_token=True)
    assert renewed.token
    assert renewed.token != plan.token
    apply_deployment(renewed, SCHEDULE, quiet)
    assert deployed_token_hash() == token_hash(renewed.token)
    assert plan_deployment(aws_client, spec(auth="iam"), package, renew_token=False).token is None


def test_only_the_owner_reads_the_file_of_a_token(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.touch(0o666)
    write_token(path, "secret")
    assert path.read_text() == "secret\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for nowhere in (tmp_path, tmp_path / "none" / "token", path / "token"):
        with pytest.raises(StorageFailed, match="Cannot write the token to"):
            write_token(nowhere, "secret")


def test_the_previous_token_is_kept_if_the_new_one_is_not_activated(tmp_path: Path) -> None:
    path, notes = tmp_path / "token", list[str]()
    with pytest.raises(KeyboardInterrupt), replace_token_file(path, "first", notes.append):
        assert path.read_text() == "first\n"
        raise KeyboardInterrupt
    assert (path.read_text(), notes) == ("first\n", [])
    with pytest.raises(DeploymentFailed), replace_token_file(path, "second", notes.append):
        raise DeploymentFailed
    before = tmp_path / "token.before"
    assert (path.read_text(), before.read_text()) == ("second\n", "first\n")
    assert notes == [f"the previous token is in {before}"]
    with replace_token_file(path, "third", notes.append):
        assert before.read_text() == "second\n"
    assert path.read_text() == "third\n"
    assert list(tmp_path.iterdir()) == [path]


def test_the_second_of_two_concurrent_deployments_fails(aws_client: AwsClient, tmp_path: Path) -> None:
    """The second deployment is planned before the first is applied."""
    package = build_package(tmp_path)
    plans = [plan_deployment(aws_client, spec(), package, renew_token=False) for _ in range(2)]
    apply_deployment(plans[0], SCHEDULE, quiet)
    with pytest.raises(DeploymentFailed, match=f"Another client created {NAME} meanwhile; deploy again to update it"):
        apply_deployment(plans[1], SCHEDULE, quiet)
    stack = find_stack(aws_client, NAME)
    assert stack
    assert stack.is_stable
    assert plans[0].token
    assert deployed_token_hash() == token_hash(plans[0].token)


# The local AWS cannot create the alarm that starts the workers, so this deployment fails.
FAILS = spec(NAME, "lambda", "queue", max_workers=1)


def test_a_failed_first_deployment_reports_the_first_failure_and_deletes_everything(
    aws_client: AwsClient, tmp_path: Path
) -> None:
    notes: list[str] = []
    plan = plan_deployment(aws_client, FAILS, build_package(tmp_path), renew_token=False)
    with pytest.raises(DeploymentFailed) as failure:
        apply_deployment(plan, SCHEDULE, notes.append)
    message = str(failure.value)
    assert (
        "UPDATE_ROLLBACK_COMPLETE: BacklogWithoutWorkers (AWS::CloudWatch::Alarm) UPDATE_FAILED: AWS::CloudWatch::Alarm"
        in message
    )
    assert message.endswith("its resources are deleted.")
    assert "deleting the new resources" in notes
    assert take_inventory(aws_client, NAME).is_empty


def test_a_failed_update_is_rolled_back(aws_client: AwsClient, tmp_path: Path) -> None:
    first, second = build_package(tmp_path), build_package(tmp_path, "2")
    deploy(aws_client, first)
    with pytest.raises(DeploymentFailed, match=r"ended UPDATE_ROLLBACK_COMPLETE: BacklogWithoutWorkers"):
        deploy(aws_client, second, FAILS)
    stack = find_stack(aws_client, NAME)
    assert stack
    assert stack.parameters["Package"] == f"packages/{first.sha256}.zip"
    assert set(packages(BUCKET)) == {f"packages/{one.sha256}.zip" for one in (first, second)}
    assert deploy(aws_client, build_package(tmp_path, "3"))[1]
    assert len(packages(BUCKET)) == 1


def test_an_incomplete_stack_is_refused_and_deleted(aws_client: AwsClient, tmp_path: Path) -> None:
    request = stack_call("create_stack", NAME, FAILS.parameters("b", "packages/x.zip"))
    request.parameters["OnFailure"] = "ROLLBACK"
    half = wait_until_stable(aws_client, aws_client.call_once(request)["StackId"], SCHEDULE, quiet)
    assert half.state == "ROLLBACK_COMPLETE"
    with pytest.raises(
        DeploymentFailed,
        match=rf"is incomplete \(ROLLBACK_COMPLETE.*`hybrid-batch cloud destroy {NAME}`, then",
    ):
        deploy(aws_client, build_package(tmp_path))
    delete_deployment(aws_client, NAME, SCHEDULE, quiet)
    assert take_inventory(aws_client, NAME).is_empty
    assert deploy(aws_client, build_package(tmp_path))[1]


def test_a_bucket_without_its_stack_is_refused_and_deleted(aws_client: AwsClient, tmp_path: Path) -> None:
    import boto3

    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    for text in (b"1", b"2"):
        s3.put_object(Bucket=BUCKET, Key="spill/x", Body=text)
    s3.delete_object(Bucket=BUCKET, Key="spill/x")
    for tags in ([], [{"Key": "hybrid-batch", "Value": "another"}]):
        s3.put_bucket_tagging(Bucket=BUCKET, Tagging={"TagSet": tags})
        with pytest.raises(AwsRefused, match="is not of a deployment"):
            deploy(aws_client, build_package(tmp_path))
        assert take_inventory(aws_client, NAME).is_empty
    delete_deployment(aws_client, NAME, SCHEDULE, quiet)
    s3.head_bucket(Bucket=BUCKET)
    s3.put_bucket_tagging(Bucket=BUCKET, Tagging={"TagSet": [{"Key": "hybrid-batch", "Value": NAME}]})
    with pytest.raises(DeploymentFailed, match="without its stack"):
        deploy(aws_client, build_package(tmp_path))
    delete_deployment(aws_client, NAME, SCHEDULE, quiet)
    assert take_inventory(aws_client, NAME).is_empty


def test_reply_queues_are_deleted_and_resources_of_others_are_kept(aws_client: AwsClient, tmp_path: Path) -> None:
    import boto3

    deploy(aws_client, build_package(tmp_path), spec(NAME, "queue", "trigger"))
    sqs, s3, logs = boto3.client("sqs"), boto3.client("s3"), boto3.client("logs")
    mine = sqs.create_queue(QueueName=f"{NAME}-replies-{'1f' * 6}")["QueueUrl"]
    others = [sqs.create_queue(QueueName=f"{NAME}-{name}")["QueueUrl"] for name in ("other", "replies-europe")]
    logs.create_log_group(logGroupName=f"/aws/lambda/{NAME}-other")
    for key in ("spill/a", "logs/run=x/_run.json"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"x")
    inventory = take_inventory(aws_client, NAME)
    assert (inventory.objects, inventory.logs, inventory.queues) == (3, 1, [mine])
    delete_deployment(aws_client, NAME, SCHEDULE, quiet)
    assert take_inventory(aws_client, NAME).is_empty
    assert sorted(sqs.list_queues(QueueNamePrefix=NAME)["QueueUrls"]) == others
    for other in others:
        sqs.delete_queue(QueueUrl=other)
    logs.delete_log_group(logGroupName=f"/aws/lambda/{NAME}-other")


def test_an_interrupted_deletion_reports_how_to_continue(
    aws_client: AwsClient, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: Bucket) -> None:
        raise KeyboardInterrupt

    deploy(aws_client, build_package(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "empty", interrupt)
        assert command(["cloud", "destroy", NAME, "--yes"]) == 130
    message = f"some resources of {NAME} may be left; delete them with `hybrid-batch cloud destroy {NAME}`."
    assert message in capfd.readouterr().err
    assert not take_inventory(aws_client, NAME).is_empty


def test_the_log_of_a_foreign_function_is_kept(aws_client: AwsClient, tmp_path: Path) -> None:
    import boto3

    logs, functions = boto3.client("logs"), boto3.client("lambda")
    code, role = {"ZipFile": build_package(tmp_path).path.read_bytes()}, "arn:aws:iam::000000000000:role/others"
    functions.create_function(FunctionName=NAME, Runtime="python3.12", Role=role, Handler="h.h", Code=code)
    log = f"/aws/lambda/{NAME}"
    logs.create_log_group(logGroupName=log)
    assert take_inventory(aws_client, NAME).is_empty
    delete_deployment(aws_client, NAME, SCHEDULE, quiet)
    assert logs.describe_log_groups(logGroupNamePrefix=log)["logGroups"]
    functions.delete_function(FunctionName=NAME)
    assert take_inventory(aws_client, NAME).log_groups == [log]


def test_a_foreign_stack_is_kept(
    aws_client: AwsClient, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3

    cloudformation = boto3.client("cloudformation")
    body = json.dumps({"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}})
    cloudformation.create_stack(StackName="others", TemplateBody=body)
    cloudformation.get_waiter("stack_create_complete").wait(StackName="others", WaiterConfig={"Delay": 1})
    with pytest.raises(AwsRefused, match="not a deployment of a tail; choose another --name"):
        deploy(aws_client, build_package(tmp_path), spec("others"))
    assert command(["cloud", "destroy", "others", "--yes"]) == 1
    assert "Stack others is not a deployment of a tail" in capfd.readouterr().err
    assert command(["cloud", "status", "others"]) == 2
    assert command(["cloud", "status", "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == []
    cloudformation.delete_stack(StackName="others")
    cloudformation.get_waiter("stack_delete_complete").wait(StackName="others", WaiterConfig={"Delay": 1})


def test_the_status_reports_queue_and_tails(
    aws_client: AwsClient, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3

    deploy(aws_client, build_package(tmp_path), spec(NAME, "lambda", "queue"))
    sqs = boto3.client("sqs")
    for name, count in ((NAME, 3), (f"{NAME}-dead", 1)):
        for _ in range(count):
            sqs.send_message(QueueUrl=sqs.get_queue_url(QueueName=name)["QueueUrl"], MessageBody="x")
    sqs.receive_message(QueueUrl=sqs.get_queue_url(QueueName=NAME)["QueueUrl"])
    for random, alive in (("a" * 12, int(time.time())), ("b" * 12, 0)):
        tags = {"hybrid-batch": "replies", "alive": str(alive)}
        sqs.create_queue(QueueName=f"{NAME}-replies-{random}", tags=tags)
    assert command(["cloud", "status", NAME, "--json"]) == 0
    (status,) = json.loads(capfd.readouterr().out)
    assert status["reply_queues"] == {"queues": 2, "stale": 1}
    assert status["messages"] == {"waiting": 2, "in_flight": 1, "dead": 1}
    assert status["tails"] == {"lambda": f"lambda:{NAME}", "queue": f"sqs:{NAME}"}
    assert status["state"] == "UPDATE_COMPLETE"
    assert command(["cloud", "status"]) == 0
    shown = capfd.readouterr().out
    assert "2 waiting, 1 in flight, 1 dead" in shown
    assert "2 queues, 1 of them stale" in shown
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert command(["cloud", "status", NAME]) == 2
    assert f"No deployment '{NAME}' in eu-west-1" in capfd.readouterr().err
    monkeypatch.delenv("AWS_REGION")
    assert command(["cloud", "destroy", NAME, "--dry-run", "--json"]) == 0
    assert "Queue" in json.loads(capfd.readouterr().out)["resources"]
    assert find_stack(aws_client, NAME)
    assert command(["cloud", "destroy", NAME]) == 2  # stdin is not a terminal
    assert "pass --yes" in capfd.readouterr().err
    assert find_stack(aws_client, NAME)


def test_missing_resources_are_reported_and_refused(
    aws_client: AwsClient, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import boto3

    package, requested = build_package(tmp_path), spec(NAME, "lambda", "queue")
    deploy(aws_client, package, requested)
    lost: list[str] = []

    def check() -> None:
        sentence = f"The {' and the '.join(lost)} of {NAME} {'is' if len(lost) == 1 else 'are'} missing; delete "
        with pytest.raises(DeploymentFailed) as refused:
            deploy(aws_client, package, requested)
        assert str(refused.value).startswith(sentence)
        assert command(["cloud", "status", NAME, "--json"]) == 1
        printed = capfd.readouterr()
        assert json.loads(printed.out)[0]["missing"] == lost
        assert sentence in printed.err
        assert command(["cloud", "status"]) == 0
        assert f"  missing  {lost[-1]}\n" in capfd.readouterr().out

    sqs = boto3.client("sqs")
    sqs.delete_queue(QueueUrl=sqs.get_queue_url(QueueName=NAME)["QueueUrl"])
    lost.append(f"queue {NAME}")
    check()
    boto3.client("lambda").delete_function(FunctionName=NAME)
    lost.insert(0, f"function {NAME}")
    check()
    take_inventory(aws_client, NAME).bucket.empty()  # type: ignore[union-attr]
    boto3.client("s3").delete_bucket(Bucket=BUCKET)
    lost.insert(0, f"bucket {BUCKET}")
    check()
    delete_deployment(aws_client, NAME, SCHEDULE, quiet)
    assert deploy(aws_client, package, requested)[1]


def test_entry_points_not_listed_are_removed_and_named_before(aws_client: AwsClient, tmp_path: Path) -> None:
    package = build_package(tmp_path)
    first = plan_deployment(aws_client, spec(NAME, "trigger", "queue"), package, renew_token=False)
    assert first.removed_entry_points() == []
    apply_deployment(first, SCHEDULE, quiet)
    for entry_points, lost in (
        (("lambda", "api"), ["queue", "trigger"]),
        (("queue",), ["lambda", "trigger"]),
        (("trigger",), ["queue"]),
        (("lambda", "queue", "trigger", "url"), []),
    ):
        plan = plan_deployment(aws_client, spec(NAME, *entry_points), package, renew_token=False)
        assert plan.removed_entry_points() == plan.describe()["removes"] == lost
    stack, _ = deploy(aws_client, package)
    assert set(tail_addresses(stack)) == {"lambda", "api"}


def test_a_declined_confirmation_changes_nothing(
    aws_client: AwsClient, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(aws_client, build_package(tmp_path), spec(NAME, "queue"))
    keyboard, terminal = os.openpty()
    with os.fdopen(keyboard, "wb", buffering=0) as user, os.fdopen(terminal) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        user.write(b"n\n")
        assert command(["cloud", "destroy", NAME]) == 1
    assert capfd.readouterr().err.endswith("hybrid-batch: Nothing was done.\n")
    assert find_stack(aws_client, NAME)


class Events:
    """A CloudFormation with several failures, one of them of an earlier update, and an update that never ends."""

    def describe_stack_events(self, StackName: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        events = [
            ("x", StackName, "UPDATE_ROLLBACK_IN_PROGRESS", ""),
            ("Queue", "q", "CREATE_FAILED", "too late"),
            ("Function", "f", "CREATE_FAILED", "the zip is\n invalid."),
            ("Route", "r", "CREATE_FAILED", "Resource creation cancelled"),
            ("x", StackName, "UPDATE_IN_PROGRESS", "User Initiated"),
            ("Bucket", "b", "UPDATE_FAILED", "last week"),
        ]
        names = ("LogicalResourceId", "PhysicalResourceId", "ResourceStatus", "ResourceStatusReason")
        return {"StackEvents": [dict(zip(names, one, strict=True)) | {"ResourceType": "T"} for one in events]}

    def describe_stacks(self, StackName: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        return {"Stacks": [{"StackName": "x", "StackId": StackName, "StackStatus": "UPDATE_IN_PROGRESS"}]}


def test_the_first_failure_is_reported_and_the_wait_ends() -> None:
    aws_client = AwsClient("eu-west-1", {"cloudformation": "CloudFormation"}, "policy", {"cloudformation": Events()})
    assert failure_reason(aws_client, "id/x/1", "UPDATE") == "Function (T) CREATE_FAILED: the zip is invalid"
    notes: list[str] = []
    with pytest.raises(DeploymentFailed, match=r"Stack x is still changing after 0.1 s .*UPDATE_IN_PROGRESS"):
        wait_until_stable(aws_client, "id/x/1", PollSchedule(0.02, 0.1), notes.append)
    assert notes == ["UPDATE_IN_PROGRESS"]


def test_names_and_limits_are_checked_before_any_request() -> None:
    assert default_name("MobileNetV2 (mine)") == "hybrid-batch-mobilenetv2-mine"
    spec(default_name("a" * 60)).check()
    for bad in ("Upper", "a", "x" * 36, "1st", "ends-"):
        with pytest.raises(WrongUsage, match="is not a valid name of a deployment"):
            spec(bad).check()
    with pytest.raises(WrongUsage, match="lower --function-timeout"):
        spec(timeout_s=60).check()
    spec(NAME, "lambda", timeout_s=60).check()


@pytest.mark.parametrize("name", ["", "ends-", "hybrid-batch-größe", "*"])
@pytest.mark.parametrize("arguments", [["status"], ["destroy", "--yes"], ["deploy", "--yes", "--name"]])
def test_invalid_names_cause_no_request(
    name: str, arguments: list[str], aws: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")  # a request would end with code 1
    assert command(["cloud", *arguments, name]) == 2
    assert f"{name!r} is not a valid name of a deployment; " in (message := capfd.readouterr().err)
    assert "and no hyphen last" in message


def test_an_empty_name_finds_no_stack(aws_client: AwsClient, tmp_path: Path) -> None:
    deploy(aws_client, build_package(tmp_path), spec(NAME, "queue"))
    assert find_stack(aws_client, "") is None  # the local AWS lists all stacks


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"AWS_DEFAULT_REGION": None}, "Cannot use CloudFormation: You must specify a region; set AWS_REGION"),
        ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "AWS credentials are missing; set"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "does not respond to describe_stacks"),
    ],
)
def test_unusable_settings_are_one_sentence(
    settings: dict[str, str | None],
    message: str,
    aws: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    assert command(["cloud", "status"]) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert message in line


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a local AWS that checks credentials and permissions."""
    with local_aws(tmp_path_factory.mktemp("guarded"), AUTH="true") as url:
        yield url


@pytest.fixture
def become(
    guarded: str, aws: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str, str], None]]:
    """Switches this process to a new user with a policy; the deployment is deleted at the end."""
    import boto3

    monkeypatch.setenv("AWS_ENDPOINT_URL", guarded)
    iam = boto3.client("iam")

    def become(name: str, policy: str) -> None:
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="rights", PolicyDocument=policy)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])

    yield become
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    delete_deployment(open_aws(), NAME, SCHEDULE, quiet)


@pytest.fixture
def unencrypted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the policies that require encryption, because the local AWS has no TLS."""
    template = tmp_path / "tail.yaml"
    template.write_text(without("BucketPolicy", "AccessLogsPolicy", "QueuePolicy"))
    monkeypatch.setattr(stacks, "TEMPLATE", template)


def _policy(*names: str) -> str:
    """The statements of the deployer's policies, without the conditions that the local AWS does not know: the header of
    a conditional write, and the tags of a stack. `test_permissions.py` evaluates them."""
    folder = TEMPLATE.parents[1] / "permissions"
    documents = [json.loads((folder / f"{name}.json").read_text()) for name in names]
    statements = [one for document in documents for one in document["Statement"]]
    for one in statements:
        if "s3:if-none-match" in one.get("Condition", {}).get("Null", {}):
            del one["Condition"]["Null"]
        if one["Sid"] == "ChangeOwnStacks":
            del one["Condition"]
    return json.dumps({"Version": "2012-10-17", "Statement": statements}).replace("ACCOUNT", "000000000000")


POLICY = _policy("deployer", "deployer-queue")


def test_the_permissions_in_the_policy_suffice(
    become: Callable[[str, str], None], unencrypted: None, tmp_path: Path
) -> None:
    become("deployer", POLICY)
    aws_client = open_aws()
    deploy(aws_client, build_package(tmp_path), spec(NAME, "lambda", "api", "queue", "trigger"))
    assert deploy(aws_client, build_package(tmp_path, "2"))[1]
    delete_deployment(aws_client, NAME, SCHEDULE, quiet)
    assert take_inventory(aws_client, NAME).is_empty


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("cloudformation:DescribeStacks", "^CloudFormation denies describe_stacks"),
        (
            "cloudformation:CreateStack",
            "^CloudFormation denies create_stack .*permissions/deployer.json lists the required permissions.$",
        ),
        ("cloudformation:UpdateStack", "^CloudFormation denies update_stack .* its resources are deleted.$"),
        ("s3:PutObject", "^Cannot write .* is denied .* its resources are deleted.$"),
        (
            "s3:ListBucketVersions",
            "^S3 denies list_object_versions .*permissions/deployer.json lists the required permissions.$",
        ),
    ],
)
def test_missing_permissions_are_one_sentence(
    missing: str, message: str, become: Callable[[str, str], None], unencrypted: None, tmp_path: Path
) -> None:
    become(f"without-{missing.replace(':', '-')}", POLICY.replace(f'"{missing}"', '"s3:ListAllMyBuckets"'))
    aws_client = open_aws()

    def deploy_and_destroy() -> None:
        deploy(aws_client, build_package(tmp_path))
        delete_deployment(aws_client, NAME, SCHEDULE, quiet)

    with pytest.raises((AwsRefused, DeploymentFailed), match=message):
        deploy_and_destroy()


def test_the_bucket_refuses_unencrypted_connections(become: Callable[[str, str], None], tmp_path: Path) -> None:
    become("plain", POLICY)
    with pytest.raises(DeploymentFailed, match=f"^Cannot list s3://{BUCKET}/packages/.* is denied"):
        deploy(open_aws(), build_package(tmp_path))


def test_invalid_credentials_are_one_sentence(
    guarded: str, aws: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", guarded)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    assert command(["cloud", "status"]) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert "does not accept the AWS credentials" in line
