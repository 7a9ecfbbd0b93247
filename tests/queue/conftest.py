"""Queues in the local AWS, and real workers in processes of their own."""

import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest

from hybrid_batch.data.aws.queue import SqsQueue
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.importing.resolve_model import resolve_model
from hybrid_batch.inference.model.runtimes import open_runtime
from hybrid_batch.inference.protocol.codecs import wire_tensors
from hybrid_batch.inference.protocol.wire import Frame
from hybrid_batch.inference.tails.local import LocalTail
from tests.conftest import COMMAND, HANG_S, ROOT

IMAGES = ROOT / "data" / "digits" / "images"
MAX_RECEIVES = 5
MakeQueue = Callable[..., "WorkQueue"]
StartWorker = Callable[..., "Worker"]


@dataclass(frozen=True)
class WorkQueue:
    """A work queue and its dead-letter queue, as the stack creates them."""

    name: str
    client: Any

    @property
    def url(self) -> str:
        return str(self.client.get_queue_url(QueueName=self.name)["QueueUrl"])

    def count(self, ending: str = "", *, visible: bool = True) -> int:
        """Number of messages in the work queue or, with "-dead", in the dead-letter queue: all of them, or only the
        invisible ones."""
        url = self.client.get_queue_url(QueueName=self.name + ending)["QueueUrl"]
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.client.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in (names if visible else names[1:]))

    def replies(self) -> list[str]:
        """The URLs of its reply queues."""
        return list(self.client.list_queues(QueueNamePrefix=f"{self.name}-replies").get("QueueUrls", []))

    def send(self, text: str, **attributes: str) -> None:
        """Send any message."""
        typed = {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}
        self.client.send_message(QueueUrl=self.url, MessageBody=text, MessageAttributes=typed)


@pytest.fixture
def make_queue(aws: str) -> MakeQueue:
    """Creates a work queue with this visibility timeout. The default is so long that no worker exceeds it."""
    client = boto3.client("sqs")

    def make(visibility_s: int = 120) -> WorkQueue:
        name = f"work-{uuid.uuid4().hex[:8]}"
        dead = client.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
        arn = client.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": MAX_RECEIVES})
        attributes = {"VisibilityTimeout": str(visibility_s), "RedrivePolicy": redrive}
        client.create_queue(QueueName=name, Attributes=attributes)
        return WorkQueue(name, client)

    return make


@pytest.fixture
def work_queue(make_queue: MakeQueue) -> WorkQueue:
    return make_queue()


@pytest.fixture
def queue(work_queue: WorkQueue) -> SqsQueue:
    """The work queue as the product sees it."""
    return SqsQueue.open(work_queue.name)


@pytest.fixture(autouse=True)
def no_settle_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new queue can be used at once in the local AWS. Runs in processes of their own wait as they do for AWS."""
    monkeypatch.setattr("hybrid_batch.inference.tails.sqs.session._SETTLE_S", 0)


class Worker:
    """A worker process that is ready."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        self.said = self.process.stderr.readline()
        assert self.said.startswith("Working for queue"), self.said + self.process.stderr.read()

    def await_line(self, line: str) -> None:
        """Wait until it writes this line to stderr."""
        assert self.process.stderr is not None
        while (said := self.process.stderr.readline()) != f"{line}\n":
            assert said, f"it ended with {self.process.wait()}"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def stop(self) -> tuple[int, dict[str, int], str]:
        """Send SIGTERM. Returns the exit code, the statistics, and the text on stderr."""
        self.process.terminate()
        return self.end()

    def end(self) -> tuple[int, dict[str, int], str]:
        output, said = self.process.communicate(timeout=HANG_S)
        return self.process.returncode, json.loads(output), said


@pytest.fixture
def start_worker() -> Iterator[StartWorker]:
    """Starts `hybrid-batch worker digits --queue NAME OPTIONS`; workers that run after the test are killed."""
    workers: list[Worker] = []

    def start(
        queue: WorkQueue, *options: str, program: tuple[str, ...] = (*COMMAND, "worker", "digits", "--json")
    ) -> Worker:
        workers.append(Worker([*program, "--queue", queue.name, *options]))
        return workers[-1]

    yield start
    for worker in workers:
        assert worker.process.stdout is not None
        if not worker.process.stdout.closed:
            worker.kill()


BLOCKING_WORKER = """
import sys, threading
from hybrid_batch.inference.serving.sqs.main import main
from hybrid_batch.inference.serving.request_handler import RequestHandler
left, handle_all = int(sys.argv.pop(1)), RequestHandler.handle_all
def handle_or_block(handler, requests):
    global left
    left -= len(requests)
    if left < 0:
        print("received", file=sys.stderr, flush=True)
        threading.Event().wait()
    return handle_all(handler, requests)
RequestHandler.handle_all = handle_or_block
main()
"""


def blocking_worker(answers: int) -> tuple[str, ...]:
    """The program of a worker that answers this many requests, writes `received`, and then blocks."""
    return (
        sys.executable,
        "-c",
        BLOCKING_WORKER,
        str(answers),
        "--bundle",
        str(ROOT / "data" / "digits" / "digits.bundle"),
    )


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    return resolve_model("digits")


@pytest.fixture(scope="session")
def local(bundle: Bundle) -> LocalTail:
    return LocalTail(bundle, open_runtime("openvino", bundle))


@pytest.fixture(scope="session")
def frames(bundle: Bundle) -> list[Frame]:
    """40 frames with one image each, for the whole model."""
    return [
        Frame(wire_tensors.encode_images(bundle.input, [path.read_bytes()]))
        for path in sorted(IMAGES.rglob("*.png"))[::9]
    ]
