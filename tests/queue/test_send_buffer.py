"""Messages that gather before they are sent. The moment for which they do is too long to end within a test."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from hybrid_batch.data.aws.queue import MAX_BATCH_BYTES, OutgoingMessage, SqsQueue
from hybrid_batch.data.errors import QueueNotFound
from hybrid_batch.inference.tails.sqs.send_buffer import SendBuffer
from tests.conftest import HANG_S


@dataclass
class Counted:
    """The real queue, and how many messages each call brought there."""

    queue: SqsQueue
    calls: list[int] = field(default_factory=list)

    def send(self, messages: Sequence[OutgoingMessage]) -> None:
        self.calls.append(len(messages))
        self.queue.send(messages)


@pytest.fixture
def counted(queue, monkeypatch) -> Counted:
    monkeypatch.setattr("hybrid_batch.inference.tails.sqs.send_buffer._GATHER_S", 1000)
    return Counted(queue)


def send(outbox: SendBuffer, *texts: str, hurry: bool = False) -> None:
    with ThreadPoolExecutor(len(texts)) as senders:
        list(senders.map(lambda text: outbox.send(OutgoingMessage(text), urgent=hurry), texts))


@contextmanager
def one_that_waits(outbox: SendBuffer) -> Iterator[Future[None]]:
    """A message, and its sender, who is in no hurry."""
    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(outbox.send, OutgoingMessage("waits"), urgent=False)
        while not outbox._waiting:
            time.sleep(0.01)
        yield waiting


def test_full_batches_are_sent(counted, work_queue):
    outbox = SendBuffer(counted)
    send(outbox, *map(str, range(30)))
    assert counted.calls == [10, 10, 10]
    assert work_queue.count() == 30
    outbox.close()


def test_an_urgent_message_takes_waiting_ones_along(counted, work_queue):
    outbox = SendBuffer(counted)
    with one_that_waits(outbox) as waiting:
        assert counted.calls == []
        send(outbox, "at once", urgent=True)
        waiting.result(HANG_S)
    assert counted.calls == [2]
    outbox.close()


def test_large_messages_are_sent_without_waiting(counted, work_queue):
    outbox = SendBuffer(counted)
    send(outbox, *["x" * (MAX_BATCH_BYTES // 2 + 1)] * 3)
    assert counted.calls == [1, 1, 1]
    outbox.close()


def test_closing_cancels_waiting_callers(counted, work_queue):
    outbox = SendBuffer(counted)
    with one_that_waits(outbox) as waiting:
        outbox.close()
        with pytest.raises(CancelledError):
            waiting.result(HANG_S)
    with pytest.raises(CancelledError):
        outbox.send(OutgoingMessage("late"), urgent=True)
    assert counted.calls == []


def test_a_refused_batch_raises_for_every_sender(counted, work_queue):
    work_queue.client.delete_queue(QueueUrl=work_queue.url)
    outbox = SendBuffer(counted)
    with ThreadPoolExecutor(10) as senders:
        sent = [senders.submit(outbox.send, OutgoingMessage("lost"), urgent=False) for _ in range(10)]
    assert [type(one.exception()) for one in sent] == [QueueNotFound] * 10
    outbox.close()
