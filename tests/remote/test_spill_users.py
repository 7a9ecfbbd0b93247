"""Oversized bodies, images and reply queues of one user of a shared deployment, apart from those of others."""

import boto3
import pytest

from hybrid_batch.data.aws.caller import caller_id, is_user_id
from hybrid_batch.data.aws.queue import SqsQueue
from hybrid_batch.data.errors import InvalidFrame, WrongUsage
from hybrid_batch.inference.protocol.spill import SPILL_HEADER, USER_HEADER, Spill
from hybrid_batch.inference.protocol.transport import Reply, Request
from hybrid_batch.inference.tails.sqs.reply_queues import create_reply_queue

POST = Request("POST", "/v2", {}, b"frame")


def keys(bucket: str) -> list[str]:
    return [one["Key"] for one in boto3.client("s3").list_objects_v2(Bucket=bucket).get("Contents", ())]


def test_requests_and_replies_are_in_the_folder_of_the_user(bucket):
    me = boto3.client("sts").get_caller_identity()["UserId"]
    client, tail = Spill(f"s3://{bucket}/spill/{{user}}"), Spill(f"s3://{bucket}/spill")
    assert client.uri == tail.uri
    with client.put_request(client.with_user(POST)) as sent:
        assert [key.rpartition("/")[0] for key in keys(bucket)] == [f"spill/{me}"]
        assert tail.read_request(sent, 100).content == b"frame"
        beside = tail.put_reply(Reply(200, {}, b"large"), sent)
    assert client.take_reply(beside, 100).content == b"large"
    stored = tail.put_reply(Reply(200, {}, b"larger"), client.with_user(POST))
    assert f"/spill/{me}/" in stored.headers[SPILL_HEADER]
    assert client.take_reply(stored, 100).content == b"larger"
    assert keys(bucket) == []


def test_a_client_does_not_read_outside_of_its_folder(bucket):
    client, tail = Spill(f"s3://{bucket}/spill/{{user}}"), Spill(f"s3://{bucket}/spill")
    for user in ({USER_HEADER: "AIDAOTHER"}, {}):
        reply = tail.put_reply(Reply(200, {}, b"of another"), Request("POST", "/v2", user))
        with pytest.raises(InvalidFrame, match="outside of this user's folder"):
            client.take_reply(reply, 100)
    assert len(keys(bucket)) == 2, "objects of others are not deleted"


@pytest.mark.parametrize("user", ["../logs", "a/b", "", ".", "..", "a b", "é", "x" * 161, "*", "{user}", "a\nb"])
def test_a_tail_accepts_only_user_ids_as_folders(bucket, user):
    tail = Spill(f"s3://{bucket}/spill")
    name = "0" * 32
    assert not is_user_id(user)
    if user:
        with pytest.raises(InvalidFrame, match="is not the AWS id of a user"):
            tail.put_reply(Reply(200, {}, b"x"), Request("POST", "/v2", {USER_HEADER: user}))
    with pytest.raises(InvalidFrame, match="is not below"):
        tail.read_request(Request("POST", "/v2", {SPILL_HEADER: f"s3://{bucket}/spill/{user}/{name}"}), 100)
    assert keys(bucket) == []


@pytest.mark.parametrize(
    "uri", ["s3://b/{user}/x", "s3://{user}", "s3://b/x{user}", "s3://b/{user}/{user}", "s3://b/{me}"]
)
def test_the_placeholder_may_only_be_the_last_folder(uri):
    with pytest.raises(WrongUsage, match="is not an S3 prefix for large bodies"):
        Spill(uri)


def test_a_reply_queue_has_its_owner(aws):
    sqs = boto3.client("sqs")
    sqs.create_queue(QueueName="owned")
    made = create_reply_queue(SqsQueue.open("owned"))
    assert made.tags()["owner"] == caller_id() == boto3.client("sts").get_caller_identity()["UserId"]
    made.delete_queue()


def test_a_reply_queue_is_created_without_sts(aws, monkeypatch):
    boto3.client("sqs").create_queue(QueueName="unowned")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
    made = create_reply_queue(SqsQueue.open("unowned"))
    assert "owner" not in made.tags()
    made.delete_queue()
