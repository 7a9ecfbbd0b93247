"""A client's session with a work queue: it owns the client's reply queue and all of its threads.

  caller threads              sender-0 … sender-3                worker processes
┌──────────────────┐        ┌─────────────────────┐            ┌──────────────────┐
│ send(message) ───┼──────► │ SendBuffer.run ─────┼─► work ───►│                  │
│                  │        └─────────────────────┘   queue    │  QueueWorker     │
│                  │        ┌─────────────────────┐            │                  │
│ future of reply ◄┼─────── │ ReplyListener.run ◄─┼── reply ◄──│                  │
└──────────────────┘        └──────── listener ───┘   queue    └──────────────────┘
                                                        ▲
                              heartbeat ────────────────┘ renews its tags every hour

cleanup    deletes stale reply queues of other clients, then ends
no-worker  a timer that notifies the user unless a reply comes in time
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager, suppress

from hybrid_batch.data.aws.queue import OutgoingMessage, ReceivedMessage, SqsQueue
from hybrid_batch.data.errors import AwsRefused, AwsUnreachable
from hybrid_batch.inference.tails.sqs.reply_listener import ReplyListener
from hybrid_batch.inference.tails.sqs.reply_queues import create_reply_queue, delete_stale, send_heartbeats
from hybrid_batch.inference.tails.sqs.send_buffer import SendBuffer

_SENDERS = 4
_SETTLE_S = 1.0  # AWS: a new queue can be used one second after its creation, not before
_NOTICE_S = 10.0
_FEW = 4  # pending replies; so few requests are sent at once, because workers are idle


class SqsSession:
    """Owns a reply queue, which it creates, and its threads from `start` to `stop`. `notify_no_worker` is called if no
    reply comes within 10 s. Thread-safe. Raises WrongUsage, AwsRefused and AwsUnreachable if it cannot create the
    queue."""

    def __init__(self, work: SqsQueue, notify_no_worker: Callable[[], None]) -> None:
        self.work = work
        self._reply_queue = create_reply_queue(work)
        self._buffer = SendBuffer(work)
        self._listener = ReplyListener(work, self._reply_queue)
        self._stopped = threading.Event()
        self._no_worker = threading.Timer(_NOTICE_S, notify_no_worker)
        self._no_worker.daemon = True

    @property
    def reply_queue_name(self) -> str:
        """The name of this client's reply queue."""
        return self._reply_queue.name

    def start(self) -> None:
        """Start the threads. Returns when the reply queue can be used."""
        for number in range(_SENDERS):
            _start(f"sender-{number}", self._buffer.run)
        _start("listener", self._listener.run)
        _start("heartbeat", send_heartbeats, self._reply_queue, self._stopped)
        time.sleep(_SETTLE_S)
        self._no_worker.start()
        _start("cleanup", delete_stale, self.work)

    def stop(self) -> None:
        """Delete the reply queue and end the threads: pending replies and messages are cancelled. Does not wait for
        threads that are in a call of SQS; they end after it."""
        self._stopped.set()
        self._no_worker.cancel()
        self._listener.close()
        with suppress(AwsRefused, AwsUnreachable):  # another client deletes the queue when it is stale
            self._reply_queue.delete_queue()
        self._buffer.close()

    def expect(self, request_id: str) -> AbstractContextManager[Future[ReceivedMessage]]:
        """See ReplyListener.expect."""
        return self._listener.expect(request_id)

    def send(self, message: OutgoingMessage) -> None:
        """Send a message to the work queue, at once while few replies are pending; see SendBuffer.send."""
        self._buffer.send(message, urgent=self._listener.pending <= _FEW)

    def worker_replied(self) -> None:
        """Cancel the notice that no worker replies."""
        self._no_worker.cancel()


def _start(name: str, run: Callable[..., None], *arguments: object) -> None:
    threading.Thread(target=run, args=arguments, name=name, daemon=True).start()
