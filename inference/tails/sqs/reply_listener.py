"""Receives the replies to one client from its reply queue and hands each to the thread that waits for it."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress

from hybrid_batch.data.aws.queue import MAX_BATCH_ENTRIES, ReceivedMessage, SqsQueue
from hybrid_batch.data.errors import AwsRefused, AwsUnreachable, InvalidFrame
from hybrid_batch.inference.protocol.message import parse_id

_PAUSE_S = 1.0
_POLL_S = 5  # also the longest time until a deleted work queue is noticed


class ReplyListener:
    """Polls `reply_queue` while replies are pending, from the thread that executes `run`. Thread-safe."""

    def __init__(self, work: SqsQueue, reply_queue: SqsQueue) -> None:
        self._work = work
        self._queue = reply_queue
        self._pending: dict[str, Future[ReceivedMessage]] = {}
        self._changed = threading.Condition()
        self._closed = False

    @property
    def pending(self) -> int:
        """Number of pending replies."""
        return len(self._pending)

    @contextmanager
    def expect(self, request_id: str) -> Iterator[Future[ReceivedMessage]]:
        """The reply to a request, which is pending until the end of the block; a later reply is dropped. The future is
        cancelled by `close`, and raises AwsRefused if a queue cannot be used."""
        reply: Future[ReceivedMessage] = Future()
        with self._changed:
            if self._closed:
                reply.cancel()
            else:
                self._pending[request_id] = reply
                self._changed.notify()
        try:
            yield reply
        finally:
            with self._changed:
                self._pending.pop(request_id, None)

    def run(self) -> None:
        """Receive replies until `close`."""
        received: list[str] = []
        while self._wait_until_pending():
            try:
                messages = self._queue.receive(MAX_BATCH_ENTRIES, _POLL_S)
                if not messages:
                    self._work.check()  # a caller that waits for its reply may not use the queue for a long time
                received += [message.receipt_handle for message in messages]
                for message in messages:
                    self._deliver(message)
                # The remaining ones are deleted with the queue. If SQS delivers them again before, they are dropped.
                if len(received) >= MAX_BATCH_ENTRIES:
                    self._queue.delete(received)
                    received = []
            except AwsUnreachable:
                with self._changed:
                    self._changed.wait_for(lambda: self._closed, _PAUSE_S)
            except AwsRefused as error:
                self._fail_pending(error)

    def close(self) -> None:
        """Cancel all pending replies."""
        with self._changed:
            self._closed = True
            for reply in self._pending.values():
                reply.cancel()
            self._pending.clear()
            self._changed.notify()

    def _wait_until_pending(self) -> bool:
        """Wait until a reply is pending. Returns False after `close`."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._closed)
            return not self._closed

    def _deliver(self, message: ReceivedMessage) -> None:
        with suppress(InvalidFrame), self._changed:
            reply = self._pending.pop(parse_id(message), None)
            if reply is not None:
                reply.set_result(message)

    def _fail_pending(self, error: AwsRefused) -> None:
        with self._changed:
            for reply in self._pending.values():
                reply.set_exception(error)
            self._pending.clear()
