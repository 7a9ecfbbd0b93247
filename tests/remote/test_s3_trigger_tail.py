"""The tail behind S3 on the local AWS: images put into a bucket trigger a real function."""

import json
import shutil
import signal
import subprocess
import threading
import time
from dataclasses import replace

import boto3
import numpy as np
import pytest

from hybrid_batch.cli import main
from hybrid_batch.data.errors import BundleMismatch, StorageFailed, TailRefused, TailUnreachable, WrongUsage
from hybrid_batch.inference.protocol.codecs import wire_tensors
from hybrid_batch.inference.protocol.wire import Frame
from hybrid_batch.inference.tails import open_tail
from hybrid_batch.inference.tails.s3_trigger import S3TriggerTail
from hybrid_batch.inference.tails.settings import RetryPolicy, TailSettings
from tests.conftest import COMMAND, HANG_S, ROOT
from tests.factories.functions import make_function
from tests.run_logs import read_records

IMAGES = ROOT / "data" / "digits" / "images" / "0"
FAST = TailSettings(retries=RetryPolicy(response_timeout_s=1))


@pytest.fixture
def address(bucket) -> str:
    """The address of a tail of the sample model."""
    return trigger(bucket)


def trigger(bucket: str, *code: str) -> str:
    client = boto3.client("lambda")
    name = make_function(*code)
    client.add_permission(
        FunctionName=name, StatementId="s3", Action="lambda:InvokeFunction", Principal="s3.amazonaws.com"
    )
    notification = {
        "LambdaFunctionArn": client.get_function(FunctionName=name)["Configuration"]["FunctionArn"],
        "Events": ["s3:ObjectCreated:*"],
        "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "some/where/in/"}]}},
    }
    boto3.client("s3").put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={"LambdaFunctionConfigurations": [notification]}
    )
    return f"s3-trigger:s3://{bucket}/some/where"


def left(bucket: str) -> list[str]:
    return [one["Key"] for one in boto3.client("s3").list_objects_v2(Bucket=bucket).get("Contents", ())]


def test_it_computes_the_scores_of_the_local_tail_and_deletes_its_objects(
    address, bucket, bundle, runtime, local, digits
):
    with open_tail(address, bundle, runtime) as tail:
        tail.check("c000")
        images = [*digits[:6], b"no image"]
        frame = Frame(wire_tensors.encode_images(bundle.input, images))
        remote, near = tail.infer("c000", frame), local.infer("c000", frame)
    assert np.array_equal(remote.scores, near.scores)
    assert remote.errors == near.errors
    assert remote.errors[-1]
    assert remote.sent_bytes == sum(map(len, images))
    assert remote.received_bytes > len(images) * 40
    assert 0 < remote.timings.server_us < remote.round_trip_us
    assert left(bucket) == []


def test_a_run_predicts_what_a_local_run_predicts(address, bucket, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for image in sorted(IMAGES.iterdir())[:8]:
        shutil.copy(image, images)
    for name in ("local", address):
        log = str(tmp_path / name.partition(":")[0])
        assert main(["run", str(images), "--split", "remote", "--tail", name, "--log", log]) == 0
    near, remote = read_records(tmp_path / "local"), read_records(tmp_path / "s3-trigger")
    assert [(one["image"], one["prediction"], one["confidence"]) for one in remote] == [
        (one["image"], one["prediction"], one["confidence"]) for one in near
    ]
    assert {(one["tail"], one["cut"], one["codec"]) for one in remote} == {(address, "c000", "image")}
    assert left(bucket) == []


@pytest.mark.parametrize(
    "options", [["--split", "c004"], ["--split", "auto"], ["--split", "remote", "--codec", "fp16"], []]
)
def test_splits_other_than_the_whole_model_are_wrong_usage(address, bucket, capsys, tmp_path, options):
    assert main(["run", str(IMAGES), "--tail", address, "--log", str(tmp_path), *options]) == 2
    assert "--split remote" in capsys.readouterr().err
    assert left(bucket) == []


def test_it_accepts_only_images(aws, bundle, pixels):
    with S3TriggerTail("s3-trigger:s3://bucket/x", bundle) as tail:
        with pytest.raises(WrongUsage, match="--split remote --codec image"):
            tail.infer("c000", Frame(wire_tensors.encode("fp32", bundle.input_cut.boundary, [pixels])))
        with pytest.raises(WrongUsage, match="--split remote --codec image"):
            tail.check("c004")


@pytest.mark.parametrize("command", ["profile", "plan"])
def test_it_cannot_be_profiled_or_planned(address, capsys, command):
    assert main([command, "digits", "--tail", address]) == 2
    assert "--split remote" in capsys.readouterr().err


def test_another_bundle_is_a_mismatch(address, bucket, bundle):
    with (
        S3TriggerTail(address, replace(bundle, sha256="0" * 64)) as tail,
        pytest.raises(BundleMismatch, match="000000000000"),
    ):
        tail.check("c000")
    assert left(bucket) == []


def test_a_missing_trigger_is_one_sentence(bucket, bundle):
    place = f"s3://{bucket}/some/where"
    with (
        S3TriggerTail(f"s3-trigger:{place}", bundle, FAST) as tail,
        pytest.raises(TailUnreachable, match=f"1 of 1 images arrived below {place}/out/ .*deployed for {place}/in/"),
    ):
        tail.check("c000")
    assert left(bucket) == []


def test_a_failing_function_is_reported_as_missing(bucket, bundle):
    address = trigger(bucket, "def handle(event, context): raise ValueError('broken')")
    with S3TriggerTail(address, bundle, FAST) as tail, pytest.raises(TailUnreachable, match="check that the trigger"):
        tail.check("c000")
    assert left(bucket) == []


def test_a_missing_bucket_is_one_sentence(aws, bundle):
    with (
        S3TriggerTail("s3-trigger:s3://no-such-bucket/x", bundle, FAST) as tail,
        pytest.raises(StorageFailed, match=r"bucket .* does not exist"),
    ):
        tail.check("c000")


@pytest.mark.parametrize(
    ("metadata", "body", "words"),
    [
        ({"status": "413"}, json.dumps({"error": "too large"}).encode(), "413: too large"),
        ({}, b"stray", "no status: stray"),
        ({"status": "x"}, b"stray", "no status: stray"),
    ],
)
def test_refusals_and_invalid_replies(bucket, bundle, metadata, body, words):
    """A thread of the test puts the replies."""
    s3, done = boto3.client("s3"), threading.Event()

    def put_replies():
        while not done.wait(0.02):
            for key in left(bucket):
                if key.startswith("p/in/"):
                    s3.put_object(Bucket=bucket, Key=key.replace("/in/", "/out/"), Body=body, Metadata=metadata)

    thread = threading.Thread(target=put_replies)
    thread.start()
    try:
        with (
            S3TriggerTail(
                f"s3-trigger:s3://{bucket}/p", bundle, TailSettings(retries=RetryPolicy(response_timeout_s=HANG_S))
            ) as tail,
            pytest.raises(TailRefused, match=words),
        ):
            tail.check("c000")
    finally:
        done.set()
        thread.join()


def test_closing_interrupts_a_wait(bucket, bundle):
    tail = S3TriggerTail(
        f"s3-trigger:s3://{bucket}/x", bundle, TailSettings(retries=RetryPolicy(response_timeout_s=9999))
    )
    raised = []

    def check():
        try:
            tail.check("c000")
        except TailUnreachable as error:
            raised.append(error)

    thread = threading.Thread(target=check)
    thread.start()
    while not left(bucket):
        time.sleep(0.01)
    tail.close()
    thread.join(HANG_S)
    assert len(raised) == 1
    assert left(bucket) == []


@pytest.mark.parametrize("rest", ["", "s3://", "bucket", "https://bucket"])
def test_addresses_without_a_bucket_are_wrong_usage(aws, bundle, runtime, rest):
    with pytest.raises(WrongUsage, match="s3://"):
        open_tail(f"s3-trigger:{rest}", bundle, runtime)


IGNORES_IMAGES = """
import boto3
def handle(event, context):
    put = event["Records"][0]["s3"]
    found = boto3.client("s3").get_object(Bucket=put["bucket"]["name"], Key=put["object"]["key"])
    if not found["Body"].read().startswith(b"\\x89PNG"):
        from hybrid_batch.inference.cloud.function import handler
        return handler.handle(event, context)
"""


def test_a_function_that_fails_for_some_images(bucket, bundle, digits):
    frame = Frame(wire_tensors.encode_images(bundle.input, [b"no image", digits[0]]))
    address = trigger(bucket, IGNORES_IMAGES)
    with S3TriggerTail(address, bundle, TailSettings(retries=RetryPolicy(response_timeout_s=HANG_S))) as tail:
        tail.check("c000")  # starts the function
    with (
        S3TriggerTail(address, bundle, TailSettings(retries=RetryPolicy(response_timeout_s=8))) as tail,
        pytest.raises(TailUnreachable, match=r"1 of 2 images .*; see the function's log in AWS"),
    ):
        tail.infer("c000", frame)
    assert left(bucket) == []


def test_an_interrupted_run_deletes_its_images(bucket, tmp_path):
    """The function replies to the check, but to no image."""
    address = trigger(bucket, IGNORES_IMAGES)
    options = ["--split", "remote", "--tail", address, "--batch-size", "4", "--log", str(tmp_path)]
    process = subprocess.Popen([*COMMAND, "run", str(IMAGES), *options], stderr=subprocess.PIPE, text=True)
    while len(left(bucket)) < 8:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=HANG_S)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("hybrid-batch: Interrupted; 0 of 1 shard (0 of 36 images) are committed")
    assert left(bucket) == []
