"""Deploying, looking, removing: what is done, in what order, and what is said when it cannot be."""

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
from hybrid_batch.data.aws.aws_client import Api, Call
from hybrid_batch.data.aws.poll_schedule import Patience
from hybrid_batch.data.errors import AwsRefused, StackFailed, StorageFailed, WrongUsage
from hybrid_batch.data.storage.ensure_object import Upload
from hybrid_batch.inference.cloud import stack as stacks
from hybrid_batch.inference.cloud.api import open_api
from hybrid_batch.inference.cloud.bucket import Bucket
from hybrid_batch.inference.cloud.deploy import deploy, plan_deployment
from hybrid_batch.inference.cloud.deployment_spec import Wanted, default_name
from hybrid_batch.inference.cloud.destroy import destroy, find_remains
from hybrid_batch.inference.cloud.packaging.package import Package
from hybrid_batch.inference.cloud.stack import TEMPLATE, Stack, await_end, find_stack, stack_call, why_failed
from hybrid_batch.inference.cloud.status import tails_of
from hybrid_batch.inference.cloud.token import replacing, token_hash, write_token
from tests.cloud.conftest import list_everything
from tests.cloud.template import without
from tests.conftest import HANG_S, local_aws

NAME = "hybrid-batch-stacks"
BUCKET = f"{NAME}-000000000000-us-east-1"
PATIENCE = Patience(0.05, HANG_S)


def quiet(_: str) -> None:
    pass


def wanted(name: str = NAME, *parts: str, **others: Any) -> Wanted:
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
    }
    return Wanted(name=name, parts=frozenset(parts or ("lambda", "api")), **(options | others))


def make_package(folder: Path, text: str = "1") -> Package:
    """A zip that Lambda takes, if only to return a number."""
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
def api(aws: str) -> Iterator[Api]:
    """The door; whatever a test made of the deployment is gone when it ends, and nothing else is."""
    before = list_everything()
    api = open_api()
    yield api
    destroy(api, NAME, PATIENCE, quiet)
    assert list_everything() == before


def put_up(api: Api, package: Package, want: Wanted | None = None, *, renew: bool = False) -> tuple[Stack, bool]:
    return deploy(plan_deployment(api, want or wanted(), package, renew_token=renew), PATIENCE, quiet)


def packages(bucket: str) -> list[str]:
    import boto3

    return [one["Key"] for one in boto3.client("s3").list_objects_v2(Bucket=bucket, Prefix="packages/")["Contents"]]


def test_the_bucket_comes_first_then_the_package_then_the_rest(api: Api, tmp_path: Path) -> None:
    package = make_package(tmp_path)
    plan = plan_deployment(api, wanted(), package, renew_token=False)
    create, upload, update = plan.steps()
    assert isinstance(create, Call)
    assert isinstance(upload, Upload)
    assert isinstance(update, Call)
    assert (create.operation, update.operation) == ("create_stack", "update_stack")
    assert upload.uri == f"s3://{BUCKET}/packages/{package.sha256}.zip"
    assert find_remains(api, NAME).is_nothing  # nothing was done yet
    stack, changed = deploy(plan, PATIENCE, quiet)
    assert changed
    assert stack.outputs["Lambda"] == f"lambda:{NAME}"
    assert packages(BUCKET) == [f"packages/{package.sha256}.zip"]


def test_deploying_again_changes_what_is_different_and_nothing_else(api: Api, tmp_path: Path) -> None:
    first, second = make_package(tmp_path), make_package(tmp_path, "2")
    put_up(api, first)
    plan = plan_deployment(api, wanted(), first, renew_token=False)
    assert plan.token is None
    assert plan.replaces() is None
    assert len(plan.steps()) == 2
    assert deploy(plan, PATIENCE, quiet)[1] is False
    plan = plan_deployment(api, wanted(memory_mb=3000), second, renew_token=False)
    assert plan.replaces() == first.bundle_sha256
    stack, changed = deploy(plan, PATIENCE, quiet)
    assert changed
    assert stack.parameters["Memory"] == "3000"
    assert packages(BUCKET) == [f"packages/{second.sha256}.zip"]


def token_there() -> str:
    """The hash that the function which lets users in was given."""
    import boto3

    found = boto3.client("lambda").get_function_configuration(FunctionName=f"{NAME}-authorise")
    return str(found["Environment"]["Variables"]["HYBRID_BATCH_TOKEN_SHA256"])


def test_a_token_stays_until_another_is_asked_for(api: Api, tmp_path: Path) -> None:
    package = make_package(tmp_path)
    plan = plan_deployment(api, wanted(), package, renew_token=False)
    assert plan.token
    assert plan.token not in json.dumps(plan.describe()) + repr(plan)
    deploy(plan, PATIENCE, quiet)
    assert token_there() == token_hash(plan.token)
    put_up(api, make_package(tmp_path, "2"))
    assert token_there() == token_hash(plan.token)
    renewed = plan_deployment(api, wanted(), package, renew_token=True)
    assert renewed.token
    assert renewed.token != plan.token
    deploy(renewed, PATIENCE, quiet)
    assert token_there() == token_hash(renewed.token)
    assert plan_deployment(api, wanted(auth="iam"), package, renew_token=False).token is None


def test_only_the_owner_reads_the_file_of_a_token(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.touch(0o666)
    write_token(path, "secret")
    assert path.read_text() == "secret\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for nowhere in (tmp_path, tmp_path / "none" / "token", path / "token"):
        with pytest.raises(StorageFailed, match="Cannot write the token to"):
            write_token(nowhere, "secret")


def test_a_token_that_is_not_made_good_takes_no_other_away(tmp_path: Path) -> None:
    path, told = tmp_path / "token", list[str]()
    with pytest.raises(KeyboardInterrupt), replacing(path, "first", told.append):
        assert path.read_text() == "first\n"
        raise KeyboardInterrupt
    assert (path.read_text(), told) == ("first\n", [])
    with pytest.raises(StackFailed), replacing(path, "second", told.append):
        raise StackFailed
    before = tmp_path / "token.before"
    assert (path.read_text(), before.read_text()) == ("second\n", "first\n")
    assert told == [f"the token of before is in {before}"]
    with replacing(path, "third", told.append):
        assert before.read_text() == "second\n"
    assert path.read_text() == "third\n"
    assert list(tmp_path.iterdir()) == [path]


def test_of_two_who_deploy_at_once_the_second_leaves_the_first_alone(api: Api, tmp_path: Path) -> None:
    """Between plan and deed lies the question whether to go on."""
    package = make_package(tmp_path)
    plans = [plan_deployment(api, wanted(), package, renew_token=False) for _ in range(2)]
    deploy(plans[0], PATIENCE, quiet)
    with pytest.raises(StackFailed, match=f"Somebody else made {NAME} meanwhile; deploy again to change it"):
        deploy(plans[1], PATIENCE, quiet)
    stack = find_stack(api, NAME)
    assert stack
    assert stack.stands
    assert plans[0].token
    assert token_there() == token_hash(plans[0].token)


# The local AWS cannot make the alarm that wakes the workers, which is as good a failure as any.
FAILS = wanted(NAME, "lambda", "queue", max_workers=1)


def test_a_deployment_that_fails_is_told_by_its_first_failure_and_leaves_nothing(api: Api, tmp_path: Path) -> None:
    told: list[str] = []
    plan = plan_deployment(api, FAILS, make_package(tmp_path), renew_token=False)
    with pytest.raises(StackFailed) as failure:
        deploy(plan, PATIENCE, told.append)
    said = str(failure.value)
    assert "UPDATE_ROLLBACK_COMPLETE: Asleep (AWS::CloudWatch::Alarm) UPDATE_FAILED: AWS::CloudWatch::Alarm" in said
    assert said.endswith("what was made of it is removed again.")
    assert "removing what was made" in told
    assert find_remains(api, NAME).is_nothing


def test_an_update_that_fails_leaves_what_stood(api: Api, tmp_path: Path) -> None:
    first, second = make_package(tmp_path), make_package(tmp_path, "2")
    put_up(api, first)
    with pytest.raises(StackFailed, match=r"ended UPDATE_ROLLBACK_COMPLETE: Asleep"):
        put_up(api, second, FAILS)
    stack = find_stack(api, NAME)
    assert stack
    assert stack.parameters["Package"] == f"packages/{first.sha256}.zip"
    assert set(packages(BUCKET)) == {f"packages/{one.sha256}.zip" for one in (first, second)}
    assert put_up(api, make_package(tmp_path, "3"))[1]
    assert len(packages(BUCKET)) == 1


def test_a_stack_that_stands_half_is_refused_and_removed(api: Api, tmp_path: Path) -> None:
    request = stack_call("create_stack", NAME, FAILS.parameters("b", "packages/x.zip"))
    request.parameters["OnFailure"] = "ROLLBACK"
    half = await_end(api, api.send(request)["StackId"], PATIENCE, quiet)
    assert half.state == "ROLLBACK_COMPLETE"
    with pytest.raises(StackFailed, match=rf"stands half \(ROLLBACK_COMPLETE.*cloud destroy {NAME}` removes"):
        put_up(api, make_package(tmp_path))
    destroy(api, NAME, PATIENCE, quiet)
    assert find_remains(api, NAME).is_nothing
    assert put_up(api, make_package(tmp_path))[1]


def test_a_bucket_without_its_stack_is_refused_and_removed(api: Api, tmp_path: Path) -> None:
    import boto3

    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    for text in (b"1", b"2"):
        s3.put_object(Bucket=BUCKET, Key="spill/x", Body=text)
    s3.delete_object(Bucket=BUCKET, Key="spill/x")
    for tags in ([], [{"Key": "hybrid-batch", "Value": "another"}]):
        s3.put_bucket_tagging(Bucket=BUCKET, Tagging={"TagSet": tags})
        with pytest.raises(AwsRefused, match="is no deployment's"):  # and might be anybody's
            put_up(api, make_package(tmp_path))
        assert find_remains(api, NAME).is_nothing
    destroy(api, NAME, PATIENCE, quiet)
    s3.head_bucket(Bucket=BUCKET)
    s3.put_bucket_tagging(Bucket=BUCKET, Tagging={"TagSet": [{"Key": "hybrid-batch", "Value": NAME}]})
    with pytest.raises(StackFailed, match="without its stack"):
        put_up(api, make_package(tmp_path))
    destroy(api, NAME, PATIENCE, quiet)
    assert find_remains(api, NAME).is_nothing


def test_what_runs_left_behind_is_removed_and_what_is_not_ours_is_not(api: Api, tmp_path: Path) -> None:
    import boto3

    put_up(api, make_package(tmp_path), wanted(NAME, "queue", "trigger"))
    sqs, s3, logs = boto3.client("sqs"), boto3.client("s3"), boto3.client("logs")
    mine = sqs.create_queue(QueueName=f"{NAME}-replies-{'1f' * 6}")["QueueUrl"]
    others = [sqs.create_queue(QueueName=f"{NAME}-{name}")["QueueUrl"] for name in ("other", "replies-europe")]
    logs.create_log_group(logGroupName=f"/aws/lambda/{NAME}-other")
    for key in ("spill/a", "logs/run=x/_run.json"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"x")
    remains = find_remains(api, NAME)
    assert (remains.objects, remains.logs, remains.queues) == (3, 1, [mine])
    destroy(api, NAME, PATIENCE, quiet)
    assert find_remains(api, NAME).is_nothing
    assert sorted(sqs.list_queues(QueueNamePrefix=NAME)["QueueUrls"]) == others
    for other in others:
        sqs.delete_queue(QueueUrl=other)
    logs.delete_log_group(logGroupName=f"/aws/lambda/{NAME}-other")


def test_who_interrupts_removing_is_told_how_to_go_on(
    api: Api, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: Bucket) -> None:
        raise KeyboardInterrupt

    put_up(api, make_package(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "empty", interrupt)
        assert command(["cloud", "destroy", NAME, "--yes"]) == 130
    assert f"some of {NAME} may stand; `hybrid-batch cloud destroy {NAME}` removes the rest." in capfd.readouterr().err
    assert not find_remains(api, NAME).is_nothing


def test_the_log_of_a_function_of_somebody_else_is_left_alone(api: Api, tmp_path: Path) -> None:
    import boto3

    logs, functions = boto3.client("logs"), boto3.client("lambda")
    code, role = {"ZipFile": make_package(tmp_path).path.read_bytes()}, "arn:aws:iam::000000000000:role/others"
    functions.create_function(FunctionName=NAME, Runtime="python3.12", Role=role, Handler="h.h", Code=code)
    log = f"/aws/lambda/{NAME}"
    logs.create_log_group(logGroupName=log)
    assert find_remains(api, NAME).is_nothing
    destroy(api, NAME, PATIENCE, quiet)
    assert logs.describe_log_groups(logGroupNamePrefix=log)["logGroups"]
    functions.delete_function(FunctionName=NAME)
    assert find_remains(api, NAME).log_groups == [log]


def test_a_stack_of_somebody_else_is_left_alone(
    api: Api, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3

    cloudformation = boto3.client("cloudformation")
    body = json.dumps({"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}})
    cloudformation.create_stack(StackName="others", TemplateBody=body)
    cloudformation.get_waiter("stack_create_complete").wait(StackName="others", WaiterConfig={"Delay": 1})
    with pytest.raises(AwsRefused, match="no deployment of a tail; choose another --name"):
        put_up(api, make_package(tmp_path), wanted("others"))
    assert command(["cloud", "destroy", "others", "--yes"]) == 1
    assert "Stack others is no deployment of a tail" in capfd.readouterr().err
    assert command(["cloud", "status", "others"]) == 2
    assert command(["cloud", "status", "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == []
    cloudformation.delete_stack(StackName="others")
    cloudformation.get_waiter("stack_delete_complete").wait(StackName="others", WaiterConfig={"Delay": 1})


def test_the_status_tells_the_queue_and_the_tails(
    api: Api, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3

    put_up(api, make_package(tmp_path), wanted(NAME, "lambda", "queue"))
    sqs = boto3.client("sqs")
    for name, count in ((NAME, 3), (f"{NAME}-dead", 1)):
        for _ in range(count):
            sqs.send_message(QueueUrl=sqs.get_queue_url(QueueName=name)["QueueUrl"], MessageBody="x")
    sqs.receive_message(QueueUrl=sqs.get_queue_url(QueueName=NAME)["QueueUrl"])
    for random, alive in (("a" * 12, int(time.time())), ("b" * 12, 0)):
        tags = {"hybrid-batch": "replies", "alive": str(alive)}
        sqs.create_queue(QueueName=f"{NAME}-replies-{random}", tags=tags)
    assert command(["cloud", "status", NAME, "--json"]) == 0
    (told,) = json.loads(capfd.readouterr().out)
    assert told["clients"] == {"queues": 2, "left_behind": 1}
    assert told["messages"] == {"waiting": 2, "in_hand": 1, "dead": 1}
    assert told["tails"] == {"lambda": f"lambda:{NAME}", "queue": f"sqs:{NAME}"}
    assert told["state"] == "UPDATE_COMPLETE"
    assert command(["cloud", "status"]) == 0
    shown = capfd.readouterr().out
    assert "2 waiting, 1 in hand, 1 dead" in shown
    assert "2 queues, 1 of them left behind by runs that were killed" in shown
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert command(["cloud", "status", NAME]) == 2
    assert f"There is no deployment '{NAME}' in eu-west-1" in capfd.readouterr().err
    monkeypatch.delenv("AWS_REGION")
    assert command(["cloud", "destroy", NAME, "--dry-run", "--json"]) == 0
    assert "Queue" in json.loads(capfd.readouterr().out)["resources"]
    assert find_stack(api, NAME)
    assert command(["cloud", "destroy", NAME]) == 2  # nobody is there to be asked
    assert "give --yes" in capfd.readouterr().err
    assert find_stack(api, NAME)


def test_what_somebody_deleted_is_told_and_nothing_is_deployed_onto_the_rest(
    api: Api, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import boto3

    package, want = make_package(tmp_path), wanted(NAME, "lambda", "queue")
    put_up(api, package, want)
    lost: list[str] = []

    def check() -> None:
        sentence = f"The {' and the '.join(lost)} of {NAME} {'is' if len(lost) == 1 else 'are'} gone; remove the rest "
        with pytest.raises(StackFailed) as refused:
            put_up(api, package, want)
        assert str(refused.value).startswith(sentence)
        assert command(["cloud", "status", NAME, "--json"]) == 1
        printed = capfd.readouterr()
        assert json.loads(printed.out)[0]["gone"] == lost
        assert sentence in printed.err
        assert command(["cloud", "status"]) == 0
        assert f"  gone     {lost[-1]}\n" in capfd.readouterr().out

    sqs = boto3.client("sqs")
    sqs.delete_queue(QueueUrl=sqs.get_queue_url(QueueName=NAME)["QueueUrl"])
    lost.append(f"queue {NAME}")
    check()
    boto3.client("lambda").delete_function(FunctionName=NAME)
    lost.insert(0, f"function {NAME}")
    check()
    find_remains(api, NAME).bucket.empty()  # type: ignore[union-attr]
    boto3.client("s3").delete_bucket(Bucket=BUCKET)
    lost.insert(0, f"bucket {BUCKET}")
    check()
    destroy(api, NAME, PATIENCE, quiet)
    assert put_up(api, package, want)[1]


def test_ways_that_are_not_asked_for_again_are_named_before_they_go(api: Api, tmp_path: Path) -> None:
    package = make_package(tmp_path)
    first = plan_deployment(api, wanted(NAME, "trigger", "queue"), package, renew_token=False)
    assert first.removes() == []
    deploy(first, PATIENCE, quiet)
    for parts, lost in (
        (("lambda", "api"), ["queue", "trigger"]),
        (("queue",), ["lambda", "trigger"]),
        (("trigger",), ["queue"]),
        (("lambda", "queue", "trigger", "url"), []),
    ):
        plan = plan_deployment(api, wanted(NAME, *parts), package, renew_token=False)
        assert plan.removes() == plan.describe()["removes"] == lost
    stack, _ = put_up(api, package)
    assert set(tails_of(stack)) == {"lambda", "api"}


def test_a_no_leaves_all_as_it_is(
    api: Api, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put_up(api, make_package(tmp_path), wanted(NAME, "queue"))
    keyboard, terminal = os.openpty()
    with os.fdopen(keyboard, "wb", buffering=0) as user, os.fdopen(terminal) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        user.write(b"n\n")
        assert command(["cloud", "destroy", NAME]) == 1
    assert capfd.readouterr().err.endswith("hybrid-batch: Nothing was done.\n")
    assert find_stack(api, NAME)


class Events:
    """CloudFormation as it never is in the local AWS: several failures, one of them of an earlier update; no end."""

    def describe_stack_events(self, StackName: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        told = [
            ("x", StackName, "UPDATE_ROLLBACK_IN_PROGRESS", ""),
            ("Queue", "q", "CREATE_FAILED", "too late"),
            ("Function", "f", "CREATE_FAILED", "the zip is\n no zip."),
            ("Route", "r", "CREATE_FAILED", "Resource creation cancelled"),
            ("x", StackName, "UPDATE_IN_PROGRESS", "User Initiated"),
            ("Bucket", "b", "UPDATE_FAILED", "last week"),
        ]
        names = ("LogicalResourceId", "PhysicalResourceId", "ResourceStatus", "ResourceStatusReason")
        return {"StackEvents": [dict(zip(names, one, strict=True)) | {"ResourceType": "T"} for one in told]}

    def describe_stacks(self, StackName: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        return {"Stacks": [{"StackName": "x", "StackId": StackName, "StackStatus": "UPDATE_IN_PROGRESS"}]}


def test_the_first_failure_is_told_and_the_wait_has_an_end() -> None:
    api = Api("eu-west-1", {"cloudformation": "CloudFormation"}, "policy", {"cloudformation": Events()})
    assert why_failed(api, "id/x/1", "UPDATE") == "Function (T) CREATE_FAILED: the zip is no zip"
    told: list[str] = []
    with pytest.raises(StackFailed, match=r"Stack x is not done after 0.1 s .*UPDATE_IN_PROGRESS.* cloud status"):
        await_end(api, "id/x/1", Patience(0.02, 0.1), told.append)
    assert told == ["UPDATE_IN_PROGRESS"]


def test_names_and_limits_are_checked_before_anything_is_asked() -> None:
    assert default_name("MobileNetV2 (mine)") == "hybrid-batch-mobilenetv2-mine"
    wanted(default_name("a" * 60)).check()
    for bad in ("Upper", "a", "x" * 36, "1st", "ends-"):
        with pytest.raises(WrongUsage, match="No deployment can be named"):
            wanted(bad).check()
    with pytest.raises(WrongUsage, match="lower --timeout"):
        wanted(timeout_s=60).check()
    wanted(NAME, "lambda", timeout_s=60).check()


@pytest.mark.parametrize("name", ["", "ends-", "hybrid-batch-größe", "*"])
@pytest.mark.parametrize("arguments", [["status"], ["destroy", "--yes"], ["deploy", "--yes", "--name"]])
def test_what_names_no_deployment_is_never_asked_for(
    name: str, arguments: list[str], aws: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")  # a request would end with code 1
    assert command(["cloud", *arguments, name]) == 2
    assert f"No deployment can be named {name!r}; " in (said := capfd.readouterr().err)
    assert "and no hyphen last" in said


def test_a_stack_that_was_not_asked_for_is_none(api: Api, tmp_path: Path) -> None:
    put_up(api, make_package(tmp_path), wanted(NAME, "queue"))
    assert find_stack(api, "") is None  # the local AWS answers with all there are


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"AWS_DEFAULT_REGION": None}, "Cannot use CloudFormation: You must specify a region; set AWS_REGION"),
        ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "There are no AWS credentials; set"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "does not answer describe_stacks"),
    ],
)
def test_settings_that_lead_nowhere_are_one_sentence(
    settings: dict[str, str | None],
    said: str,
    aws: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    assert command(["cloud", "status"]) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert said in line


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a local AWS that asks who is there, and what they may."""
    with local_aws(tmp_path_factory.mktemp("guarded"), AUTH="true") as url:
        yield url


@pytest.fixture
def become(
    guarded: str, aws: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str, str], None]]:
    """Makes this process a user of this name with these rights; what it makes is removed at the end."""
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
    destroy(open_api(), NAME, PATIENCE, quiet)


@pytest.fixture
def unencrypted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The local AWS is spoken to without encryption, which its bucket and queues forbid where rights are looked at."""
    template = tmp_path / "tail.yaml"
    template.write_text(without("BucketPolicy", "QueuePolicy"))
    monkeypatch.setattr(stacks, "TEMPLATE", template)


RIGHTS = TEMPLATE.with_name("policy.json").read_text().replace("ACCOUNT", "000000000000")


def test_the_rights_in_the_policy_suffice(
    become: Callable[[str, str], None], unencrypted: None, tmp_path: Path
) -> None:
    become("deployer", RIGHTS)
    api = open_api()
    put_up(api, make_package(tmp_path), wanted(NAME, "lambda", "api", "queue", "trigger"))
    assert put_up(api, make_package(tmp_path, "2"))[1]
    destroy(api, NAME, PATIENCE, quiet)
    assert find_remains(api, NAME).is_nothing


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("cloudformation:DescribeStacks", "^CloudFormation denies describe_stacks"),
        ("cloudformation:CreateStack", "^CloudFormation denies create_stack .*are in inference/cloud/policy.json.$"),
        ("cloudformation:UpdateStack", "^CloudFormation denies update_stack .* is removed again.$"),
        ("s3:PutObject", "^Cannot write .* is denied .* is removed again.$"),
        ("s3:ListBucketVersions", "^S3 denies list_object_versions .*are in inference/cloud/policy.json.$"),
    ],
)
def test_missing_rights_are_one_sentence(
    missing: str, said: str, become: Callable[[str, str], None], unencrypted: None, tmp_path: Path
) -> None:
    become(f"without-{missing.replace(':', '-')}", RIGHTS.replace(f'"{missing}"', '"s3:ListAllMyBuckets"'))
    api = open_api()

    def there_and_back() -> None:
        put_up(api, make_package(tmp_path))
        destroy(api, NAME, PATIENCE, quiet)

    with pytest.raises((AwsRefused, StackFailed), match=said):
        there_and_back()


def test_the_bucket_suffers_no_connection_that_is_not_encrypted(
    become: Callable[[str, str], None], tmp_path: Path
) -> None:
    become("plain", RIGHTS)
    with pytest.raises(StackFailed, match=f"^Cannot list s3://{BUCKET}/packages/.* is denied"):
        put_up(open_api(), make_package(tmp_path))


def test_credentials_that_are_not_accepted_are_one_sentence(
    guarded: str, aws: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", guarded)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    assert command(["cloud", "status"]) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert "does not accept the AWS credentials" in line
