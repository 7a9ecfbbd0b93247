"""Reply queues of killed clients, which are deleted, and of running ones."""

import time

import pytest

from hybrid_batch.data.aws.queue import SqsQueue
from hybrid_batch.inference.cloud.stack.api import open_aws
from hybrid_batch.inference.cloud.status import ReplyQueueCount, count_reply_queues
from hybrid_batch.inference.protocol.transport import Request
from hybrid_batch.inference.tails.settings import RetryPolicy, TailSettings
from hybrid_batch.inference.tails.sqs.reply_queues import delete_stale
from hybrid_batch.inference.tails.sqs.transport import SqsTransport
from tests.scripted_server import ScriptedServer, reply

DAY_S = 24 * 3600


@pytest.fixture
def made(work_queue):
    """Creates a reply queue with these random digits and tags. Returns its URL."""

    def make(random: str, alive: object = None, kind: str = "replies") -> str:
        tags = {"hybrid-batch": kind} | ({} if alive is None else {"alive": str(alive)})
        name = f"{work_queue.name}-replies-{random}"
        return str(work_queue.client.create_queue(QueueName=name, tags=tags)["QueueUrl"])

    return make


def test_only_stale_reply_queues_are_deleted(work_queue, queue, made):
    now = int(time.time())
    stale = [made("0" * 12, now - DAY_S - 60), made("1" * 12, 0)]
    kept = [
        made("2" * 12, now),
        made("3" * 12, now - DAY_S + 60),
        made("4" * 12),
        made("5" * 12, "long ago"),
        made("6" * 12, 0, kind="something else"),
        made("7" * 11, 0),
        made("8" * 12 + "-dead", 0),
    ]
    assert count_reply_queues(open_aws(), work_queue.name) == ReplyQueueCount(7, 2)
    assert sorted(work_queue.replies()) == sorted(stale + kept)
    delete_stale(queue)
    assert sorted(work_queue.replies()) == sorted(kept)
    assert count_reply_queues(open_aws(), work_queue.name) == ReplyQueueCount(5, 0)


def test_a_client_deletes_stale_queues_and_sends_heartbeats(work_queue, made, monkeypatch):
    monkeypatch.setattr("hybrid_batch.inference.tails.sqs.reply_queues._HEARTBEAT_S", 0.1)
    stale = made("0" * 12, 0)
    settings = TailSettings(retries=RetryPolicy(response_timeout_s=0.5, attempts=1))
    transport = SqsTransport(f"sqs:{work_queue.name}", settings)
    with pytest.raises(Exception, match="No worker answered"):
        transport.send(Request("GET", "/v2"), 100)
    while stale in work_queue.replies():
        time.sleep(0.05)
    (mine,) = work_queue.replies()
    work_queue.client.tag_queue(QueueUrl=mine, Tags={"alive": "0"})
    while time.time() - int(work_queue.client.list_queue_tags(QueueUrl=mine)["Tags"]["alive"]) > DAY_S:
        time.sleep(0.05)
    transport.close()
    assert work_queue.replies() == []


def test_without_permission_nothing_is_deleted(aws, monkeypatch):
    denied = b'{"__type": "com.amazon.coral.service#AccessDeniedException", "message": "not authorized"}'
    server = ScriptedServer(reply(403, denied, "Content-Type: application/x-amz-json-1.0\r\n"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    delete_stale(SqsQueue(f"{server.url}/000000000000/work", 30, open_aws()))
    assert len(server.requests) == 1
