"""Messages on their way to a queue: they gather for a moment and go together, for a call takes nearly as long whatever
it carries, and is billed as one."""

import threading
from collections import deque
from concurrent.futures import CancelledError, Future

from hybrid_batch.data.aws.queue import MOST_BYTES, MOST_TOGETHER, Outgoing, Queue, together

_THREADS = 4
_GATHER_S = 0.05


class Outbox:
    """Threads may use it at once."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._waiting: deque[tuple[Outgoing, Future[None]]] = deque()
        self._hurry = False
        self._closed = False
        self._gathering = threading.Lock()
        self._changed = threading.Condition()
        for number in range(_THREADS):
            threading.Thread(target=self._work, name=f"outbox-{number}", daemon=True).start()

    def send(self, message: Outgoing, *, hurry: bool) -> None:
        """Returns when the message is sent, which in a hurry waits for no others. Raises as Queue.send does, of those
        sent together for all, and after `close` CancelledError."""
        sent: Future[None] = Future()
        with self._changed:
            if self._closed:
                raise CancelledError
            self._waiting.append((message, sent))
            self._hurry |= hurry
            if len(self._waiting) == 1 or self._is_time:
                self._changed.notify()
        sent.result()

    def close(self) -> None:
        """Send nothing more: who waits for that gets CancelledError."""
        with self._changed:
            self._closed = True
            for _, sent in self._waiting:
                sent.cancel()
            self._waiting.clear()
            self._changed.notify_all()

    @property
    def _is_time(self) -> bool:
        """Whether there is nothing to be gained by waiting for more: what is larger than half a load fills one."""
        if self._hurry or self._closed or len(self._waiting) >= MOST_TOGETHER:
            return True
        return sum(message.size for message, _ in self._waiting) > MOST_BYTES // 2

    def _work(self) -> None:
        """What every thread does: gather, which one does at a time, and send."""
        while load := self._gather():
            try:
                self._queue.send([message for message, _ in load])
            except Exception as error:
                for _, sent in load:
                    sent.set_exception(error)
            else:
                for _, sent in load:
                    sent.set_result(None)

    def _gather(self) -> list[tuple[Outgoing, Future[None]]]:
        """What goes together next; nothing after `close`."""
        with self._gathering, self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            self._changed.wait_for(lambda: self._is_time, _GATHER_S)
            self._hurry = False
            return [self._waiting.popleft() for _ in range(together([message for message, _ in self._waiting]))]
