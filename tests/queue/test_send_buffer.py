"""The send buffer gathers messages into batches. The time it gathers is longer than any of these tests."""

import threading
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

SENDERS = 4


@dataclass
class CountingQueue:
    """The real queue, which keeps the number of messages of each call."""

    queue: SqsQueue
    calls: list[int] = field(default_factory=list)

    def send(self, messages: Sequence[OutgoingMessage]) -> None:
        self.calls.append(len(messages))
        self.queue.send(messages)


@pytest.fixture
def counting(queue, monkeypatch) -> CountingQueue:
    monkeypatch.setattr("hybrid_batch.inference.tails.sqs.send_buffer._GATHER_S", 1000)
    return CountingQueue(queue)


@pytest.fixture
def buffer(counting) -> Iterator[SendBuffer]:
    """A buffer whose threads run."""
    buffer = SendBuffer(counting)
    threads = [threading.Thread(target=buffer.run) for _ in range(SENDERS)]
    for thread in threads:
        thread.start()
    yield buffer
    buffer.close()
    for thread in threads:
        thread.join(HANG_S)
        assert not thread.is_alive()


def send(buffer: SendBuffer, *texts: str, urgent: bool = False) -> None:
    with ThreadPoolExecutor(len(texts)) as callers:
        list(callers.map(lambda text: buffer.send(OutgoingMessage(text), urgent=urgent), texts))


@contextmanager
def waiting_message(buffer: SendBuffer) -> Iterator[Future[None]]:
    """A message that is not urgent, and the call that sends it."""
    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(buffer.send, OutgoingMessage("waits"), urgent=False)
        while not buffer._waiting:
            time.sleep(0.01)
        yield waiting


def test_full_batches_are_sent(counting, buffer, work_queue):
    send(buffer, *map(str, range(30)))
    assert counting.calls == [10, 10, 10]
    assert work_queue.count() == 30


def test_an_urgent_message_takes_waiting_ones_along(counting, buffer):
    with waiting_message(buffer) as waiting:
        assert counting.calls == []
        send(buffer, "at once", urgent=True)
        waiting.result(HANG_S)
    assert counting.calls == [2]


def test_large_messages_are_sent_without_waiting(counting, buffer):
    send(buffer, *["x" * (MAX_BATCH_BYTES // 2 + 1)] * 3)
    assert counting.calls == [1, 1, 1]


def test_closing_cancels_waiting_callers(counting, buffer):
    with waiting_message(buffer) as waiting:
        buffer.close()
        with pytest.raises(CancelledError):
            waiting.result(HANG_S)
    with pytest.raises(CancelledError):
        buffer.send(OutgoingMessage("late"), urgent=True)
    assert counting.calls == []


def test_a_refused_batch_raises_for_every_sender(buffer, work_queue):
    work_queue.client.delete_queue(QueueUrl=work_queue.url)
    with ThreadPoolExecutor(10) as callers:
        sent = [callers.submit(buffer.send, OutgoingMessage("lost"), urgent=False) for _ in range(10)]
    assert [type(one.exception()) for one in sent] == [QueueNotFound] * 10
