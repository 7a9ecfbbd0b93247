"""Workers of a queue, most in processes of their own: replies, kills, shutdown."""

import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import boto3
import pytest

from hybrid_batch.data.aws.queue import OutgoingMessage, SqsQueue
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.runtimes import open_runtime
from hybrid_batch.inference.protocol.message import parse_reply, request_message
from hybrid_batch.inference.protocol.transport import NoResponse, Request
from hybrid_batch.inference.serving.request_handler import RequestHandler
from hybrid_batch.inference.serving.sqs.visibility_lease import VisibilityLease
from hybrid_batch.inference.serving.sqs.worker import QueueWorker, ShutdownPolicy
from hybrid_batch.inference.tails.sqs.transport import SqsTransport
from tests.conftest import COMMAND, HANG_S, ROOT
from tests.queue.conftest import IMAGES, blocking_worker
from tests.run_logs import read_records, without_times

SPLIT = ("--split", "c005", "--codec", "fp32")


def run(log, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, "run", str(IMAGES), "--log", str(log), *SPLIT, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=HANG_S, check=False)


def records_of(log, *arguments: str) -> list[dict]:
    done = run(log, *arguments)
    assert done.returncode == 0, done.stderr
    return [{**record, "tail": "", "sent_bytes": 0, "received_bytes": 0} for record in without_times(read_records(log))]


def receive_replies(work_queue, name: str) -> list:
    """Receive the first replies from a reply queue."""
    client = SqsQueue.open(work_queue.name).sibling(name)
    end = time.monotonic() + HANG_S
    while not (messages := client.receive(10, 1)):
        assert time.monotonic() < end, "no reply came"
    return [parse_reply(message, 0) for message in messages]


@pytest.fixture
def replies_to(work_queue) -> str:
    """The name of a reply queue of the test."""
    name = f"{work_queue.name}-replies-{uuid.uuid4().hex[:12]}"
    work_queue.client.create_queue(QueueName=name)
    return name


def test_a_run_through_two_workers_equals_a_local_run(work_queue, start_worker, tmp_path):
    module = (
        sys.executable,
        "-m",
        "hybrid_batch.inference.serving.sqs.main",
        "--bundle",
        str(ROOT / "data/digits/digits.bundle"),
    )
    workers, transport = [start_worker(work_queue)], SqsTransport(f"sqs:{work_queue.name}")
    assert transport.send(Request("GET", "/v2"), 1000).status == 200
    workers.append(start_worker(work_queue, program=module))
    remote = records_of(tmp_path / "remote", "--tail", f"sqs:{work_queue.name}", "--batch-size", "4")
    assert remote == records_of(tmp_path / "local", "--tail", "local", "--batch-size", "4")
    assert {record["tail"] for record in read_records(tmp_path / "remote")} == {f"sqs:{work_queue.name}"}
    totals = [workers[0].stop()]
    assert transport.send(Request("GET", "/v2"), 1000).status == 200
    transport.close()
    totals.append(workers[1].stop())
    assert [code for code, _, _ in totals] == [0, 0]
    assert sum(counted["answered"] for _, counted, _ in totals) == 360 // 4 + 2 + 2
    assert all(counted["answered"] for _, counted, _ in totals), "each was once the only worker"
    assert not any("Traceback" in said for _, _, said in totals)
    assert (work_queue.count(), work_queue.count("-dead"), work_queue.replies()) == (0, 0, [])


def test_only_libraries_of_a_package_for_the_cloud_are_imported():
    code = (
        "import sys, hybrid_batch.inference.serving.sqs.main; print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"click", "httpx", "starlette", "uvicorn", "pyarrow", "pandas", "rich"} & set(done.stdout.split())


PATIENT_RUN = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from hybrid_batch.inference.tails.settings import RetryPolicy
connect_timeout_s, _, *others = RetryPolicy.__init__.__defaults__
RetryPolicy.__init__.__defaults__ = (connect_timeout_s, 9999.0, *others)  # nothing is sent again within this time
from hybrid_batch.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_killed_workers_lose_no_requests(make_queue, start_worker, tmp_path):
    """SQS delivers their messages to other workers; the client does not send them again."""
    work_queue = make_queue(visibility_s=2)
    options = (*SPLIT, "--batch-size", "1", "--shard-size", "4", "--tail", f"sqs:{work_queue.name}")
    command = [sys.executable, "-c", PATIENT_RUN, "run", str(IMAGES), "--log", str(tmp_path), *options]
    runner = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for answers in (20, 160):
        worker = start_worker(work_queue, program=blocking_worker(answers))
        worker.await_line("received")
        assert work_queue.count(visible=False) > 0
        worker.kill()
    for _ in range(2):
        start_worker(work_queue)
    _, said = runner.communicate(timeout=HANG_S)
    assert runner.returncode == 0, said
    records = read_records(tmp_path)
    assert [record["image"] for record in records] == sorted(
        str(path.relative_to(IMAGES)) for path in IMAGES.rglob("*.png")
    )
    assert {record["error"] for record in records} == {None}
    assert (work_queue.count("-dead"), work_queue.replies()) == (0, [])


@pytest.mark.parametrize("text", ["no JSON at all", '{"method": "GET"}'])
def test_an_invalid_message_with_a_reply_queue_is_answered(work_queue, start_worker, replies_to, text):
    worker = start_worker(work_queue)
    work_queue.send(text, id="0" * 32, reply_to=replies_to)
    (reply,) = receive_replies(work_queue, replies_to)
    assert reply.status == 400
    assert "A message" in reply.message
    assert worker.stop()[:2] == (0, {"answered": 0, "refused": 1, "dropped": 0})
    assert (work_queue.count(), work_queue.count("-dead")) == (0, 0)


def test_an_invalid_message_without_a_reply_queue_goes_to_the_dead_letter_queue(make_queue, start_worker):
    work_queue = make_queue(visibility_s=1)
    foreign = work_queue.client.create_queue(QueueName=f"foreign-{uuid.uuid4().hex[:12]}")["QueueUrl"]
    work_queue.send("nobody's")
    work_queue.send('{"method": "GET", "path": "/v2"}', id="0" * 32, reply_to=foreign)
    worker = start_worker(work_queue)
    end = time.monotonic() + HANG_S
    while work_queue.count("-dead") < 2:
        assert time.monotonic() < end, "they are not in the dead-letter queue"
        time.sleep(0.1)
    transport = SqsTransport(f"sqs:{work_queue.name}")
    assert transport.send(Request("GET", "/v2"), 1000).status == 200
    transport.close()
    code, _, said = worker.stop()
    assert code == 0
    assert "which is not a reply queue of" in said
    assert "not 32 hexadecimal digits" in said
    assert "Messages" not in work_queue.client.receive_message(QueueUrl=foreign)


def test_requests_of_a_client_that_is_gone_are_dropped_at_the_second_delivery(make_queue, start_worker):
    work_queue = make_queue(visibility_s=8)
    gone = f"{work_queue.name}-replies-{'0' * 12}"
    for _ in range(5):
        work_queue.send('{"method": "GET", "path": "/v2"}', id="0" * 32, reply_to=gone)
    worker = start_worker(work_queue)
    while work_queue.count():
        time.sleep(0.1)
    assert worker.stop()[:2] == (0, {"answered": 0, "refused": 0, "dropped": 5})
    assert (work_queue.count(), work_queue.count("-dead")) == (0, 0)


def test_a_worker_exits_after_the_idle_timeout(work_queue, start_worker):
    assert start_worker(work_queue, "--idle-timeout", "1").end()[:2] == (0, {"answered": 0, "refused": 0, "dropped": 0})


def test_tracked_messages_stay_invisible_and_are_released_at_the_end(make_queue):
    queue = SqsQueue.open(make_queue(visibility_s=8).name)
    queue.send([OutgoingMessage("one"), OutgoingMessage("two"), OutgoingMessage("three")])
    with VisibilityLease(queue) as lease:
        messages = queue.receive(10, 1)
        lease.track(messages)
        lease.delete([message.receipt_handle for message in messages if message.text == "two"])
        assert queue.receive(10, 10) == [], "another worker received a tracked message"
        assert len(lease) == 2
    released = queue.receive(10, 0)
    assert sorted(message.text for message in released) == ["one", "three"]
    assert {message.receive_count for message in released} == {2}


def test_a_worker_with_another_bundle_leaves_requests_to_others(
    work_queue, replies_to, start_worker, bundle, tmp_path, monkeypatch
):
    monkeypatch.setattr("hybrid_batch.inference.serving.sqs.worker._YIELD_S", 10)
    other = replace(bundle, sha256="0" * 64)
    said: list[str] = []
    queue = SqsQueue.open(work_queue.name)
    wrong = QueueWorker(queue, RequestHandler(other, open_runtime("openvino", other)), said.append)
    queue.send([request_message(Request("GET", "/v2"), "0" * 32, replies_to, bundle.sha256)])
    with ThreadPoolExecutor(1) as threads:
        working = threads.submit(wrong.run)
        while not wrong._stats.refused:
            time.sleep(0.02)
        right = start_worker(work_queue)
        remote = records_of(tmp_path / "remote", "--tail", f"sqs:{work_queue.name}", "--batch-size", "1")
        wrong.stop()
        totals = working.result(HANG_S)
    assert remote == records_of(tmp_path / "local", "--tail", "local", "--batch-size", "1")
    assert totals.answered == 0
    assert 0 < totals.refused < right.stop()[1]["answered"]
    assert [line for line in said if "for another bundle than digits (000000000000)" in line] == said[:1]
    assert work_queue.count("-dead") == 0


def test_a_worker_with_another_bundle_pauses(work_queue, replies_to, bundle, monkeypatch):
    monkeypatch.setattr("hybrid_batch.inference.serving.sqs.worker._YIELD_S", 1000)
    queue, said = SqsQueue.open(work_queue.name), []
    queue.send([request_message(Request("GET", "/v2"), f"{n:032x}", replies_to, "f" * 64) for n in range(50)])
    worker = QueueWorker(queue, RequestHandler(bundle, open_runtime("openvino", bundle)), said.append)
    with ThreadPoolExecutor(1) as threads:
        working = threads.submit(worker.run)
        while not said:
            time.sleep(0.02)
        time.sleep(1)  # in which it would refuse the others
        worker.stop()
        totals = working.result(HANG_S)
    assert (totals.answered, totals.dropped) == (0, 0)
    assert 1 <= totals.refused <= 3, "at most one for each thread"
    assert work_queue.count() == 50 - totals.refused


def test_oversized_requests_and_replies_go_through_s3(work_queue, start_worker, bucket, tmp_path):
    spill = f"s3://{bucket}/spill"
    start_worker(work_queue, "--spill", spill)
    address = f"sqs:{work_queue.name}"
    done = run(tmp_path / "log", "--tail", address, "--batch-size", "360", "--quiet")
    assert done.returncode == 1
    assert "--batch-size" in done.stderr
    assert "--spill s3://BUCKET/PREFIX" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    remote = records_of(tmp_path / "remote", "--tail", address, "--batch-size", "360", "--spill", spill)
    assert remote == records_of(tmp_path / "local", "--tail", "local", "--batch-size", "360")
    assert "Contents" not in boto3.client("s3").list_objects_v2(Bucket=bucket), "objects remain"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--queue", "no-such-queue"], "Queue 'no-such-queue' does not exist in us-east-1"),
        (["--queue", "no.name"], "is not a queue name"),
        ([], "Missing option '--queue'"),
        (["--queue", "q", "--spill", "elsewhere"], "s3://"),
    ],
)
def test_a_worker_that_cannot_start_fails_in_one_sentence(aws, arguments, words):
    command = [*COMMAND, "worker", "digits", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S, check=False)
    assert done.returncode in (1, 2)
    assert words in done.stderr
    assert "Traceback" not in done.stderr


class BlockingHandler(RequestHandler):
    """Computes until `go` is set."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle, open_runtime("openvino", bundle))
        self.computing, self.go = threading.Event(), threading.Event()

    def handle_all(self, requests):
        self.computing.set()
        self.go.wait(HANG_S)
        return super().handle_all(requests)


def test_a_queue_without_a_visibility_timeout_is_rejected(make_queue):
    """SQS would deliver each message to every worker."""
    queue = make_queue(visibility_s=0)
    command = [*COMMAND, "worker", "digits", "--queue", queue.name, "--idle-timeout", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S, check=False)
    assert done.returncode == 2
    assert f"Queue {queue.name!r} has a visibility timeout of 0 s" in done.stderr


@pytest.mark.parametrize("in_time", [False, True])
def test_received_requests_are_finished_within_the_shutdown_timeout_or_released(make_queue, bundle, in_time):
    queue = SqsQueue.open(make_queue(visibility_s=60).name)
    transport = SqsTransport(f"sqs:{queue.name}")
    handler = BlockingHandler(bundle)
    worker = QueueWorker(queue, handler, lambda _: None, ShutdownPolicy(shutdown_timeout_s=HANG_S if in_time else 0.2))
    with ThreadPoolExecutor(2) as threads:
        sent = threads.submit(transport.send, Request("GET", "/v2"), 1000)
        working = threads.submit(worker.run)
        assert handler.computing.wait(HANG_S)
        worker.stop()
        if in_time:
            handler.go.set()
            assert working.result(HANG_S).answered == 1
            assert sent.result(HANG_S).status == 200
            assert queue.receive(10, 0) == []
        else:
            assert working.result(HANG_S).answered == 0
            assert len(queue.receive(10, 1)) == 1, "it is invisible although no worker computes it"
            handler.go.set()
            transport.close()


class FaultyHandler(RequestHandler):
    """Raises for some requests."""

    def handle_all(self, requests):
        if any(request.path == "/broken" for request in requests):
            raise RuntimeError("a defect")
        return super().handle_all(requests)


def test_a_request_that_exposes_a_defect_goes_to_the_dead_letter_queue_alone(make_queue, bundle, capsys):
    work_queue = make_queue(visibility_s=1)
    queue = SqsQueue.open(work_queue.name)
    worker = QueueWorker(queue, FaultyHandler(bundle, open_runtime("openvino", bundle)), lambda _: None)
    transport = SqsTransport(f"sqs:{queue.name}")
    with ThreadPoolExecutor(2) as threads:
        working = threads.submit(worker.run)
        broken = threads.submit(transport.send, Request("GET", "/broken"), 1000)
        while not work_queue.count("-dead"):
            assert transport.send(Request("GET", "/v2"), 1000).status == 200
        worker.stop()
        assert working.result(HANG_S).answered > 0
        transport.close()
        with pytest.raises(NoResponse):
            broken.result(HANG_S)
    assert "a defect" in capsys.readouterr().err


def test_a_client_with_a_very_new_reply_queue_is_answered_later(make_queue, start_worker):
    work_queue = make_queue(visibility_s=10)
    name = f"{work_queue.name}-replies-{'0' * 12}"
    start_worker(work_queue)
    work_queue.send('{"method": "GET", "path": "/v2"}', id="0" * 32, reply_to=name)
    while not work_queue.count(visible=False):
        time.sleep(0.01)
    time.sleep(0.3)
    work_queue.client.create_queue(QueueName=name)
    (reply,) = receive_replies(work_queue, name)
    assert reply.status == 200
