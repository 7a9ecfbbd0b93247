"""Messages on their way to a queue: while some are being sent others gather, and then go together."""

import threading
from collections import deque
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor

from data.queues import Outgoing, Queue, together

_THREADS = 4


class Outbox:
    """Threads may use it at once."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._waiting: deque[tuple[Outgoing, Future[None]]] = deque()
        self._lock = threading.Lock()
        self._closed = False
        self._senders = ThreadPoolExecutor(_THREADS, thread_name_prefix="outbox")

    def send(self, message: Outgoing) -> None:
        """Returns when the message is sent. Raises as Queue.send does, of those sent together for all, and after
        `close` CancelledError."""
        sent: Future[None] = Future()
        with self._lock:
            if self._closed:
                raise CancelledError
            self._waiting.append((message, sent))
            self._senders.submit(self._send_some)
        sent.result()

    def close(self) -> None:
        """Send what waits, and let go of the threads."""
        with self._lock:
            self._closed = True
        self._senders.shutdown()

    def _send_some(self) -> None:
        """There is such a call for every message, so that of those that went together the others find nothing."""
        with self._lock:
            count = together([message for message, _ in self._waiting])
            some = [self._waiting.popleft() for _ in range(count)]
        try:
            if some:
                self._queue.send([message for message, _ in some])
        except Exception as error:
            for _, sent in some:
                sent.set_exception(error)
        else:
            for _, sent in some:
                sent.set_result(None)
