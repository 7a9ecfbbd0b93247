"""Messages that gather before they are sent. The moment for which they do is too long to end within a test."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from hybrid_batch.data.aws.queue import MOST_BYTES, Outgoing, Queue
from hybrid_batch.data.errors import QueueGone
from hybrid_batch.inference.tails.sqs.send_buffer import Outbox
from tests.conftest import HANG_S


@dataclass
class Counted:
    """The real queue, and how many messages each call brought there."""

    queue: Queue
    calls: list[int] = field(default_factory=list)

    def send(self, messages: Sequence[Outgoing]) -> None:
        self.calls.append(len(messages))
        self.queue.send(messages)


@pytest.fixture
def counted(queue, monkeypatch) -> Counted:
    monkeypatch.setattr("hybrid_batch.inference.tails.sqs.send_buffer._GATHER_S", 1000)
    return Counted(queue)


def send(outbox: Outbox, *texts: str, hurry: bool = False) -> None:
    with ThreadPoolExecutor(len(texts)) as senders:
        list(senders.map(lambda text: outbox.send(Outgoing(text), hurry=hurry), texts))


@contextmanager
def one_that_waits(outbox: Outbox) -> Iterator[Future[None]]:
    """A message, and its sender, who is in no hurry."""
    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(outbox.send, Outgoing("waits"), hurry=False)
        while not outbox._waiting:
            time.sleep(0.01)
        yield waiting


def test_a_full_load_goes_together(counted, work_queue):
    outbox = Outbox(counted)
    send(outbox, *map(str, range(30)))
    assert counted.calls == [10, 10, 10]
    assert work_queue.count() == 30
    outbox.close()


def test_who_is_in_a_hurry_takes_along_who_waits(counted, work_queue):
    outbox = Outbox(counted)
    with one_that_waits(outbox) as waiting:
        assert counted.calls == []
        send(outbox, "at once", hurry=True)
        waiting.result(HANG_S)
    assert counted.calls == [2]
    outbox.close()


def test_large_messages_wait_for_no_others(counted, work_queue):
    outbox = Outbox(counted)
    send(outbox, *["x" * (MOST_BYTES // 2 + 1)] * 3)
    assert counted.calls == [1, 1, 1]
    outbox.close()


def test_closing_lets_go_who_waits(counted, work_queue):
    outbox = Outbox(counted)
    with one_that_waits(outbox) as waiting:
        outbox.close()
        with pytest.raises(CancelledError):
            waiting.result(HANG_S)
    with pytest.raises(CancelledError):
        outbox.send(Outgoing("late"), hurry=True)
    assert counted.calls == []


def test_what_the_queue_refuses_is_told_to_all_who_sent_it(counted, work_queue):
    work_queue.client.delete_queue(QueueUrl=work_queue.url)
    outbox = Outbox(counted)
    with ThreadPoolExecutor(10) as senders:
        sent = [senders.submit(outbox.send, Outgoing("lost"), hurry=False) for _ in range(10)]
    assert [type(one.exception()) for one in sent] == [QueueGone] * 10
    outbox.close()
