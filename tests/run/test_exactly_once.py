"""A runner is killed at random moments; after the same command again, the log has every image exactly once."""

import random
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import COMMAND, HANG_S, ROOT
from tests.run_logs import count_parts, read_records, without_times
from tests.self_kill import self_kill

pytestmark = pytest.mark.slow

IMAGES = ROOT / "data" / "digits" / "images"
KILLED_IMAGES = 120  # of a run with one image a shard; tests/soak has longer ones


def kill_five_times_then_finish(log: str, *arguments: str) -> None:
    """Kill five runners, each after a random number of commits and during the next shard."""
    options = ["run", str(IMAGES), "--log", log, "--shard-size", "1", "--batch-size", "1", *arguments]
    options += ["--limit", str(KILLED_IMAGES)]
    chance = random.Random()
    for _ in range(5):
        command = [*self_kill(chance.randrange(1, 20), chance.randrange(40)), *options]
        killed = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert 5 <= count_parts(log) < KILLED_IMAGES
    subprocess.run([*COMMAND, *options], check=True, stdout=subprocess.DEVNULL, timeout=HANG_S)


def check_every_image_once(log: str | Path, count: int = 360) -> None:
    records = read_records(log)
    expected = sorted(str(path.relative_to(IMAGES)) for path in IMAGES.rglob("*.png"))[:count]
    assert [record["image"] for record in records] == expected
    assert Counter(record["error"] for record in records) == {None: count}


def test_log_in_a_folder(tmp_path):
    kill_five_times_then_finish(str(tmp_path))
    check_every_image_once(tmp_path, KILLED_IMAGES)


def test_log_in_a_folder_with_a_remote_tail(tmp_path, digits_server):
    kill_five_times_then_finish(str(tmp_path), "--tail", digits_server.url)
    check_every_image_once(tmp_path, KILLED_IMAGES)


def test_log_in_a_bucket(bucket):
    kill_five_times_then_finish(f"s3://{bucket}/logs")
    check_every_image_once(f"s3://{bucket}/logs", KILLED_IMAGES)


def test_two_concurrent_runners_share_one_log(tmp_path):
    command = [*COMMAND, "run", str(IMAGES), "--log", str(tmp_path), "--shard-size", "16"]
    both = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(HANG_S) for process in both] == [0, 0]
    check_every_image_once(tmp_path)


@pytest.mark.parametrize("tail", ["local", "remote"])
def test_a_folder_and_a_bucket_hold_the_same_records(tmp_path, bucket, digits_server, tail):
    tail = digits_server.url if tail == "remote" else "local"
    for log in (str(tmp_path), f"s3://{bucket}"):
        subprocess.run(
            [*COMMAND, "run", str(IMAGES), "--log", log, "--tail", tail, "--split", "c006"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    assert without_times(read_records(tmp_path)) == without_times(read_records(f"s3://{bucket}"))


def test_images_are_read_from_a_bucket(tmp_path, bucket):
    import boto3

    client = boto3.client("s3")
    for path in sorted(IMAGES.glob("[34]/*.png")):
        client.put_object(Bucket=bucket, Key=f"in/{path.relative_to(IMAGES)}", Body=path.read_bytes())
    command = [*COMMAND, "run", f"s3://{bucket}/in", "--log", str(tmp_path / "log")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    records = read_records(tmp_path / "log")
    assert len(records) == len(list(IMAGES.glob("[34]/*.png")))
    assert {record["label"] for record in records} == {"3", "4"}


@pytest.mark.parametrize(("log", "words"), [("s3://no-such-bucket-1/logs", "no-such-bucket-1")])
def test_a_bucket_that_does_not_exist(aws, log, words):
    done = subprocess.run(
        [*COMMAND, "-q", "run", str(IMAGES), "--log", log], capture_output=True, text=True, check=False, timeout=HANG_S
    )
    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
