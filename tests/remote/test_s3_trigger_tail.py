"""The conventional way on the local AWS: pictures put into a bucket, a real function triggered by that."""

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
from hybrid_batch.data.errors import OtherBundle, StorageFailed, TailRefused, TailUnreachable, WrongUsage
from hybrid_batch.inference.protocol import codecs
from hybrid_batch.inference.protocol.wire import Frame
from hybrid_batch.inference.tails import open_tail
from hybrid_batch.inference.tails.retry_policy import Patience
from hybrid_batch.inference.tails.s3_trigger import S3TriggerTail
from hybrid_batch.inference.tails.settings import TailSettings
from tests.conftest import COMMAND, HANG_S, ROOT
from tests.made_functions import make_function
from tests.made_runs import read_records

IMAGES = ROOT / "data" / "digits" / "images" / "0"
HASTE = TailSettings(patience=Patience(answer_s=1))


@pytest.fixture
def place(bucket) -> str:
    """A prefix at which pictures trigger the tail of the sample model."""
    return trigger(bucket)


def trigger(bucket: str, *code: str) -> str:
    client = boto3.client("lambda")
    name = make_function(*code)
    client.add_permission(
        FunctionName=name, StatementId="s3", Action="lambda:InvokeFunction", Principal="s3.amazonaws.com"
    )
    told = {
        "LambdaFunctionArn": client.get_function(FunctionName=name)["Configuration"]["FunctionArn"],
        "Events": ["s3:ObjectCreated:*"],
        "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "some/where/in/"}]}},
    }
    boto3.client("s3").put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={"LambdaFunctionConfigurations": [told]}
    )
    return f"s3-trigger:s3://{bucket}/some/where"


def left(bucket: str) -> list[str]:
    return [one["Key"] for one in boto3.client("s3").list_objects_v2(Bucket=bucket).get("Contents", ())]


def test_it_answers_as_the_tail_here_and_leaves_nothing(place, bucket, bundle, engine, local, digits):
    with open_tail(place, bundle, engine) as tail:
        tail.check("c000")
        pictures = [*digits[:6], b"no picture"]
        frame = Frame(codecs.encode_pictures(bundle.input, pictures))
        answer, here = tail.infer("c000", frame), local.infer("c000", frame)
    assert np.array_equal(answer.scores, here.scores)
    assert answer.errors == here.errors
    assert answer.errors[-1]
    assert answer.sent_bytes == sum(map(len, pictures))
    assert answer.received_bytes > len(pictures) * 40
    assert 0 < answer.times.server_us < answer.round_trip_us
    assert left(bucket) == []


def test_a_run_through_it_predicts_what_a_run_here_does(place, bucket, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for picture in sorted(IMAGES.iterdir())[:8]:
        shutil.copy(picture, images)
    for name in ("local", place):
        log = str(tmp_path / name.partition(":")[0])
        assert main(["run", str(images), "--split", "remote", "--tail", name, "--log", log]) == 0
    here, there = read_records(tmp_path / "local"), read_records(tmp_path / "s3-trigger")
    assert [(one["image"], one["prediction"], one["confidence"]) for one in there] == [
        (one["image"], one["prediction"], one["confidence"]) for one in here
    ]
    assert {(one["tail"], one["cut"], one["codec"]) for one in there} == {(place, "c000", "image")}
    assert left(bucket) == []


@pytest.mark.parametrize(
    "options", [["--split", "c004"], ["--split", "auto"], ["--split", "remote", "--codec", "fp16"], []]
)
def test_other_splits_than_the_whole_model_are_refused_at_once(place, bucket, capsys, tmp_path, options):
    assert main(["run", str(IMAGES), "--tail", place, "--log", str(tmp_path), *options]) == 2
    assert "--split remote" in capsys.readouterr().err
    assert left(bucket) == []


def test_it_takes_nothing_but_pictures(aws, bundle, pixels):
    with S3TriggerTail("s3-trigger:s3://bucket/x", bundle) as tail:
        with pytest.raises(WrongUsage, match="--split remote --codec image"):
            tail.infer("c000", Frame(codecs.encode("fp32", bundle.whole.boundary, [pixels])))
        with pytest.raises(WrongUsage, match="--split remote --codec image"):
            tail.check("c004")


@pytest.mark.parametrize("command", ["profile", "plan"])
def test_it_is_not_planned_with(place, capsys, command):
    assert main([command, "digits", "--tail", place]) == 2
    assert "--split remote" in capsys.readouterr().err


def test_another_bundle_is_told(place, bucket, bundle):
    with (
        S3TriggerTail(place, replace(bundle, sha256="0" * 64)) as tail,
        pytest.raises(OtherBundle, match="000000000000"),
    ):
        tail.check("c000")
    assert left(bucket) == []


def test_a_place_without_a_trigger_is_told(bucket, bundle):
    place = f"s3://{bucket}/some/where"
    with (
        S3TriggerTail(f"s3-trigger:{place}", bundle, HASTE) as tail,
        pytest.raises(TailUnreachable, match=f"1 of 1 pictures came below {place}/out/ .*deployed for {place}/in/"),
    ):
        tail.check("c000")
    assert left(bucket) == []


def test_a_function_that_fails_is_as_one_that_is_not_there(bucket, bundle):
    place = trigger(bucket, "def handle(event, context): raise ValueError('broken')")
    with S3TriggerTail(place, bundle, HASTE) as tail, pytest.raises(TailUnreachable, match="check that the trigger"):
        tail.check("c000")
    assert left(bucket) == []


def test_a_missing_bucket_is_told(aws, bundle):
    with (
        S3TriggerTail("s3-trigger:s3://there-is-none/x", bundle, HASTE) as tail,
        pytest.raises(StorageFailed, match="there is no bucket"),
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
def test_replies_that_refuse_or_are_none_are_told(bucket, bundle, metadata, body, words):
    """Whoever answers here is a thread of this test."""
    s3, done = boto3.client("s3"), threading.Event()

    def answer():
        while not done.wait(0.02):
            for key in left(bucket):
                if key.startswith("p/in/"):
                    s3.put_object(Bucket=bucket, Key=key.replace("/in/", "/out/"), Body=body, Metadata=metadata)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        with (
            S3TriggerTail(
                f"s3-trigger:s3://{bucket}/p", bundle, TailSettings(patience=Patience(answer_s=HANG_S))
            ) as tail,
            pytest.raises(TailRefused, match=words),
        ):
            tail.check("c000")
    finally:
        done.set()
        thread.join()


def test_closing_ends_the_waiting(bucket, bundle):
    tail = S3TriggerTail(f"s3-trigger:s3://{bucket}/x", bundle, TailSettings(patience=Patience(answer_s=9999)))
    raised = []

    def ask():
        try:
            tail.check("c000")
        except TailUnreachable as error:
            raised.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    while not left(bucket):
        time.sleep(0.01)
    tail.close()
    thread.join(HANG_S)
    assert len(raised) == 1
    assert left(bucket) == []


@pytest.mark.parametrize("place", ["", "s3://", "bucket", "https://bucket"])
def test_addresses_that_name_no_bucket(aws, bundle, engine, place):
    with pytest.raises(WrongUsage, match="s3://"):
        open_tail(f"s3-trigger:{place}", bundle, engine)


DEAF = """
import boto3
def handle(event, context):
    told = event["Records"][0]["s3"]
    found = boto3.client("s3").get_object(Bucket=told["bucket"]["name"], Key=told["object"]["key"])
    if not found["Body"].read().startswith(b"\\x89PNG"):
        from hybrid_batch.inference.cloud.function import handler
        return handler.handle(event, context)
"""


def test_a_function_that_fails_at_some_pictures_is_there(bucket, bundle, digits):
    frame = Frame(codecs.encode_pictures(bundle.input, [b"no picture", digits[0]]))
    place = trigger(bucket, DEAF)
    with S3TriggerTail(place, bundle, TailSettings(patience=Patience(answer_s=HANG_S))) as tail:
        tail.check("c000")  # a function takes a while to start
    with (
        S3TriggerTail(place, bundle, TailSettings(patience=Patience(answer_s=8))) as tail,
        pytest.raises(TailUnreachable, match=r"1 of 2 pictures .*; the function's log in AWS may say why"),
    ):
        tail.infer("c000", frame)
    assert left(bucket) == []


def test_an_interrupted_run_takes_its_pictures_away(bucket, tmp_path):
    """The function replies to the question whether it is there, and to no picture."""
    place = trigger(bucket, DEAF)
    options = ["--split", "remote", "--tail", place, "--batch-size", "4", "--log", str(tmp_path)]
    process = subprocess.Popen([*COMMAND, "run", str(IMAGES), *options], stderr=subprocess.PIPE, text=True)
    while len(left(bucket)) < 8:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=HANG_S)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("hybrid-batch: Interrupted; 0 shards")
    assert left(bucket) == []
