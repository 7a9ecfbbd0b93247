"""The tail behind a queue, from the client's side."""

import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from hybrid_batch.data.aws.queue import ReceivedMessage, SqsQueue
from hybrid_batch.data.errors import AwsRefused, BundleMismatch, QueueNotFound, TailRefused, TailUnreachable, WrongUsage
from hybrid_batch.inference.model.runtimes import open_runtime
from hybrid_batch.inference.protocol.message import parse_id, parse_request, reply_message
from hybrid_batch.inference.protocol.transport import Reply, Request
from hybrid_batch.inference.serving.request_handler import RequestHandler
from hybrid_batch.inference.serving.sqs.worker import QueueWorker
from hybrid_batch.inference.tails.settings import RetryPolicy, TailSettings
from hybrid_batch.inference.tails.sqs.reply_listener import ReplyListener
from hybrid_batch.inference.tails.sqs.transport import SqsTransport, open_sqs_tail
from tests.conftest import COMMAND, HANG_S
from tests.queue.conftest import IMAGES, blocking_worker
from tests.run_logs import await_parts

FAST = TailSettings(retries=RetryPolicy(response_timeout_s=0.5, attempts=2))
HELLO = Request("GET", "/v2")


def take(queue: SqsQueue, but: str = "") -> ReceivedMessage:
    """Receive and delete a message of the queue, as a worker does; messages with the id `but` are discarded."""
    end = time.monotonic() + HANG_S
    while time.monotonic() < end:
        for message in queue.receive(1, 1):
            queue.delete([message.receipt_handle])
            if parse_id(message) != but:
                return message
    raise AssertionError("no message came")


@pytest.mark.parametrize("count", [60, 600])
def test_all_concurrent_requests_are_answered(work_queue, start_worker, bundle, local, frames, count):
    for _ in range(2):
        start_worker(work_queue)
    expected = [local.infer("c000", frame).scores for frame in frames]
    settings = TailSettings(retries=RetryPolicy(response_timeout_s=HANG_S))
    with open_sqs_tail(f"sqs:{work_queue.name}", bundle, settings) as tail:
        tail.check("c000")
        with ThreadPoolExecutor(count) as callers:
            responses = list(callers.map(lambda n: tail.infer("c000", frames[n % len(frames)]), range(count)))
    for number, response in enumerate(responses):
        np.testing.assert_array_equal(response.scores, expected[number % len(expected)])
    assert (work_queue.count(), work_queue.count("-dead"), work_queue.replies()) == (0, 0, [])


def test_the_address_may_be_a_url(work_queue, start_worker, bundle):
    start_worker(work_queue)
    with open_sqs_tail(f"sqs:{work_queue.url}", bundle) as tail:
        tail.check("c000")


def test_without_a_worker_the_error_shows_how_to_start_one(work_queue, bundle):
    with open_sqs_tail(f"sqs:{work_queue.name}", bundle, FAST) as tail:
        with pytest.raises(
            TailUnreachable, match=f"within 1 s; start one: hybrid-batch worker --queue {work_queue.name}"
        ):
            tail.check("c000")
        assert len(work_queue.replies()) == 1
    assert work_queue.replies() == []


def test_no_reply_queue_is_created_before_the_first_request(work_queue, bundle):
    with open_sqs_tail(f"sqs:{work_queue.name}", bundle):
        assert work_queue.replies() == []


def test_the_reply_queue_has_a_retention_period_and_tags(work_queue):
    transport = SqsTransport(f"sqs:{work_queue.name}", FAST)
    with pytest.raises(TailUnreachable):
        transport.send(HELLO, 100)
    (url,) = work_queue.replies()
    attributes = work_queue.client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert attributes["MessageRetentionPeriod"] == "3600"
    tags = work_queue.client.list_queue_tags(QueueUrl=url)["Tags"]
    assert tags.pop("alive").isdecimal()
    assert tags == {"hybrid-batch": "replies", "owner": "000000000000"}
    transport.close()


def test_another_bundle_is_finally_refused(work_queue, start_worker, bundle, monkeypatch):
    monkeypatch.setattr("hybrid_batch.inference.tails.sqs.transport._MATCH_S", 1)
    start_worker(work_queue)
    said: list[str] = []
    tail = open_sqs_tail(f"sqs:{work_queue.name}", replace(bundle, sha256="0" * 64), TailSettings(notify=said.append))
    with (
        tail,
        pytest.raises(BundleMismatch, match="The request is for bundle 000000000000, but this tail serves digits"),
    ):
        tail.check("c000")
    (line,) = said
    assert line.startswith(f"A worker of sqs:{work_queue.name} refused (The request is for bundle 000000000000")


def test_a_worker_with_the_bundle_answers_after_another_refused(work_queue, bundle, monkeypatch):
    monkeypatch.setattr("hybrid_batch.inference.tails.sqs.transport._MATCH_S", HANG_S)
    tail = open_sqs_tail(f"sqs:{work_queue.name}", bundle)
    other, right = (
        RequestHandler(one, open_runtime("openvino", one)) for one in (replace(bundle, sha256="0" * 64), bundle)
    )
    with ThreadPoolExecutor(3) as threads, tail:
        for handler in (other, right):
            worker = QueueWorker(SqsQueue.open(work_queue.name), handler, lambda _: None)
            working = threads.submit(worker.run)
            if handler is other:
                sent = threads.submit(tail.check, "c000")
                while not worker._stats.refused:
                    time.sleep(0.02)
                worker.stop()
                assert working.result(HANG_S).answered == 0
        sent.result(HANG_S)
        worker.stop()


def test_an_unanswered_request_is_sent_again_under_its_id_and_a_second_reply_dropped(make_queue):
    work_queue = make_queue(visibility_s=1)
    queue = SqsQueue.open(work_queue.name)
    retries = RetryPolicy(response_timeout_s=2, attempts=100)
    transport = SqsTransport(f"sqs:{work_queue.name}", TailSettings(retries=retries))
    with ThreadPoolExecutor(1) as callers:
        sent = callers.submit(transport.send, HELLO, 100)
        lost = take(queue)  # by a worker that does not reply
        first = take(queue)
        assert parse_id(first) == parse_id(lost)
        assert parse_request(first) == HELLO
        client = queue.sibling(first.attributes["reply_to"])
        client.send([reply_message(Reply(200, {}, word), parse_id(first)) for word in (b"one", b"one")])
        assert sent.result(HANG_S).content == b"one"
        sent = callers.submit(transport.send, HELLO, 100)
        second = take(queue, but=parse_id(first))
        assert parse_id(second) != parse_id(first)
        client.send([reply_message(Reply(200, {}, b"two"), parse_id(second))])
        assert sent.result(HANG_S).content == b"two"
    transport.close()


def test_an_oversized_reply_is_rejected(work_queue, queue):
    transport = SqsTransport(f"sqs:{work_queue.name}")
    with ThreadPoolExecutor(1) as callers:
        sent = callers.submit(transport.send, HELLO, 100)
        message = take(queue)
        reply = reply_message(Reply(200, {}, b"x" * 101), parse_id(message))
        queue.sibling(message.attributes["reply_to"]).send([reply])
        with pytest.raises(Exception, match="101 bytes, more than the 100 bytes expected"):
            sent.result(HANG_S)
    transport.close()


def test_closing_cancels_waiting_callers(work_queue, bundle):
    tail = open_sqs_tail(f"sqs:{work_queue.name}", bundle)
    with ThreadPoolExecutor(1) as callers:
        waiting = callers.submit(tail.check, "c000")
        while not work_queue.replies():
            time.sleep(0.02)
        tail.close()
        with pytest.raises(TailUnreachable, match="the tail was closed"):
            waiting.result(HANG_S)


def test_a_deleted_reply_queue_ends_the_run(work_queue, bundle, monkeypatch):
    monkeypatch.setattr("hybrid_batch.inference.tails.sqs.reply_listener._POLL_S", 1)
    with open_sqs_tail(f"sqs:{work_queue.name}", bundle) as tail, ThreadPoolExecutor(1) as callers:
        waiting = callers.submit(tail.check, "c000")
        while not work_queue.count():
            time.sleep(0.02)
        work_queue.client.delete_queue(QueueUrl=work_queue.replies()[0])
        with pytest.raises(TailRefused, match=r"Queue .* does not exist"):
            waiting.result(HANG_S)


def test_a_deleted_work_queue_ends_the_run_while_replies_are_pending(work_queue, bundle, monkeypatch):
    monkeypatch.setattr("hybrid_batch.inference.tails.sqs.reply_listener._POLL_S", 1)
    settings = TailSettings(retries=RetryPolicy(response_timeout_s=9999))
    with open_sqs_tail(f"sqs:{work_queue.name}", bundle, settings) as tail, ThreadPoolExecutor(1) as callers:
        waiting = callers.submit(tail.check, "c000")  # and would be sent again after hours
        while not work_queue.count():
            time.sleep(0.02)
        work_queue.client.delete_queue(QueueUrl=work_queue.url)
        with pytest.raises(TailRefused, match=f"Queue '{work_queue.name}' does not exist"):
            waiting.result(HANG_S)


def test_it_notifies_the_user_while_no_worker_replies(work_queue, bundle, monkeypatch):
    monkeypatch.setattr("hybrid_batch.inference.tails.sqs.session._NOTICE_S", 0.2)
    said: list[str] = []
    settings = TailSettings(retries=RetryPolicy(response_timeout_s=1000, attempts=2), notify=said.append)
    with open_sqs_tail(f"sqs:{work_queue.name}", bundle, settings) as tail, ThreadPoolExecutor(1) as callers:
        waiting = callers.submit(tail.check, "c000")
        while not said:
            time.sleep(0.02)
        tail.close()
        with pytest.raises(TailUnreachable):
            waiting.result(HANG_S)
    assert len(said) == 1
    assert f"Waiting up to 2000 s for a worker of queue {work_queue.name};" in said[0]


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("no-such-queue", TailRefused, "Queue 'no-such-queue' does not exist in us-east-1"),
        ("no.name", WrongUsage, "'no.name' is not a queue name"),
        ("http://127.0.0.1/000000000000/none", TailRefused, "Queue 'none' does not exist"),
    ],
)
def test_a_missing_queue_is_one_sentence(aws, bundle, name, kind, words):
    with open_sqs_tail(f"sqs:{name}", bundle) as tail, pytest.raises(kind, match=words):
        tail.check("c000")


def test_a_queue_name_too_long_for_its_reply_queue(aws, bundle):
    import boto3

    name = "n" * 60
    boto3.client("sqs").create_queue(QueueName=name)
    before = {*threading.enumerate()}
    with open_sqs_tail(f"sqs:{name}", bundle) as tail, pytest.raises(WrongUsage, match="too long"):
        tail.check("c000")
    assert {*threading.enumerate()} <= before


def test_no_reply_queue_is_created_after_closing(work_queue, bundle):
    tail = open_sqs_tail(f"sqs:{work_queue.name}", bundle)
    tail.close()
    with pytest.raises(TailUnreachable, match="the tail was closed"):
        tail.check("c000")
    assert work_queue.replies() == []


def test_closing_the_listener_cancels_pending_replies_and_ends_its_thread(queue):
    listener = ReplyListener(queue, queue)
    with ThreadPoolExecutor(1) as threads, listener.expect("0" * 32) as reply:
        running = threads.submit(listener.run)
        queue.delete_queue()
        listener.close()
        assert reply.cancelled()
        running.result(HANG_S)


def test_an_interrupt_during_the_start_deletes_the_reply_queue(work_queue, bundle, monkeypatch):
    monkeypatch.setattr("hybrid_batch.inference.tails.sqs.session._SETTLE_S", 20)

    def interrupt() -> None:
        while not work_queue.replies():
            time.sleep(0.05)
        time.sleep(0.5)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    with ThreadPoolExecutor(1) as other, pytest.raises(KeyboardInterrupt):  # noqa: SIM117
        with open_sqs_tail(f"sqs:{work_queue.name}", bundle) as tail:
            other.submit(interrupt)
            tail.check("c000")
    assert work_queue.replies() == []


def test_a_queue_in_another_region(work_queue, monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    with pytest.raises(QueueNotFound, match="in eu-west-1; check its name, AWS_REGION"):
        SqsQueue.open(work_queue.name)


def test_no_credentials(work_queue, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(AwsRefused, match="AWS credentials are missing"):
        SqsQueue.open(work_queue.name)


def test_an_unreachable_sqs_is_one_sentence(aws, bundle, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    settings = TailSettings(retries=RetryPolicy(response_timeout_s=1, attempts=2))
    with open_sqs_tail("sqs:work", bundle, settings) as tail, pytest.raises(TailUnreachable, match="does not respond"):
        tail.check("c000")


@pytest.mark.parametrize(("number", "killed"), [(signal.SIGINT, False), (signal.SIGINT, True), (signal.SIGTERM, False)])
def test_an_interrupt_ends_a_run_at_once_and_deletes_the_reply_queue(
    work_queue, start_worker, tmp_path, number, killed
):
    worker = start_worker(work_queue, program=blocking_worker(20))
    command = [*COMMAND, "run", str(IMAGES), "--log", str(tmp_path), "--split", "c005", "--batch-size", "1"]
    runner = subprocess.Popen([*command, "--tail", f"sqs:{work_queue.name}"], stderr=subprocess.PIPE, text=True)
    worker.await_line("received")
    assert list(tmp_path.glob("run=*"))
    if killed:
        worker.kill()
        time.sleep(0.5)
    runner.send_signal(number)
    _, said = runner.communicate(timeout=HANG_S)  # waiting for the tail would take 360 s
    assert runner.returncode == 130
    assert "Interrupted" in said
    assert work_queue.replies() == []


def test_a_queue_deleted_during_a_run_is_one_sentence(work_queue, start_worker, tmp_path):
    worker = start_worker(work_queue, program=blocking_worker(20))
    command = [*COMMAND, "run", str(IMAGES), "--log", str(tmp_path), "--split", "c005", "--batch-size", "1"]
    options = ["--shard-size", "4", "--in-flight", "1", "--tail", f"sqs:{work_queue.name}"]
    runner = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
    await_parts(tmp_path, 2)
    worker.await_line("received")
    work_queue.client.delete_queue(QueueUrl=work_queue.url)
    _, said = runner.communicate(timeout=HANG_S)
    assert runner.returncode == 1
    (line,) = [line for line in said.splitlines() if line.startswith("hybrid-batch: ")]
    assert f"Queue '{work_queue.name}' does not exist" in line
    assert line.endswith("and the same command continues the run.")
    assert work_queue.replies() == []


def test_threads_end_after_closing(work_queue, start_worker, bundle):
    start_worker(work_queue)
    before = threading.active_count()
    with open_sqs_tail(f"sqs:{work_queue.name}", bundle) as tail:
        tail.check("c000")
    end = time.monotonic() + HANG_S
    while threading.active_count() > before:
        assert time.monotonic() < end
        time.sleep(0.05)
