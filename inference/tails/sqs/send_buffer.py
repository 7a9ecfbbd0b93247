"""Batches the messages of many threads: a call of SQS takes nearly as long for ten messages as for one, and costs the
same."""

import threading
from collections import deque
from concurrent.futures import CancelledError, Future

from hybrid_batch.data.aws.queue import (
    MAX_BATCH_BYTES,
    MAX_BATCH_ENTRIES,
    OutgoingMessage,
    SqsQueue,
    batch_length,
)

_GATHER_S = 0.05


class SendBuffer:
    """Gathers messages for a queue and sends them in batches, from the threads that execute `run`. Thread-safe."""

    def __init__(self, queue: SqsQueue) -> None:
        self._queue = queue
        self._waiting: deque[tuple[OutgoingMessage, Future[None]]] = deque()
        self._urgent = False
        self._closed = False
        self._gathering = threading.Lock()
        self._changed = threading.Condition()

    def send(self, message: OutgoingMessage, *, urgent: bool) -> None:
        """Send a message, with others or, if urgent, without waiting for others. Returns when it is sent. Raises
        whatever SqsQueue.send raises for any message of its batch, and CancelledError after `close`."""
        sent: Future[None] = Future()
        with self._changed:
            if self._closed:
                raise CancelledError
            self._waiting.append((message, sent))
            self._urgent |= urgent
            if len(self._waiting) == 1 or self._is_due:
                self._changed.notify()
        sent.result()

    def run(self) -> None:
        """Send batches until `close`. Several threads may execute it: one gathers while the others send."""
        while batch := self._gather():
            try:
                self._queue.send([message for message, _ in batch])
            except Exception as error:
                for _, sent in batch:
                    sent.set_exception(error)
            else:
                for _, sent in batch:
                    sent.set_result(None)

    def close(self) -> None:
        """Send nothing more: callers of `send` that wait get CancelledError."""
        with self._changed:
            self._closed = True
            for _, sent in self._waiting:
                sent.cancel()
            self._waiting.clear()
            self._changed.notify_all()

    @property
    def _is_due(self) -> bool:
        """Whether to send without waiting for more messages. More than half a batch's bytes count as a full batch."""
        if self._urgent or self._closed or len(self._waiting) >= MAX_BATCH_ENTRIES:
            return True
        return sum(message.size for message, _ in self._waiting) > MAX_BATCH_BYTES // 2

    def _gather(self) -> list[tuple[OutgoingMessage, Future[None]]]:
        """The next batch; empty after `close`."""
        with self._gathering, self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            self._changed.wait_for(lambda: self._is_due, _GATHER_S)
            self._urgent = False
            length = batch_length([message for message, _ in self._waiting])
            return [self._waiting.popleft() for _ in range(length)]
