"""The replies to one client of a work queue: a queue of its own, and a thread that hands out what comes there."""

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress

from hybrid_batch.data.aws.queue import LONGEST_NAME, MOST_TOGETHER, Incoming, Queue
from hybrid_batch.data.errors import AwsRefused, AwsUnreachable, BadFrame, WrongUsage
from hybrid_batch.inference.protocol.message import read_id, replies_name
from hybrid_batch.inference.tails.sqs.reply_queues import keep_alive, life

_RETENTION_S = 3600
_PAUSE_S = 1.0
_POLL_S = 5  # and as long, at most, until it is noticed that there is nobody any more to reply


class Replies:
    """Threads may use it at once. It polls only while somebody waits."""

    def __init__(self, work: Queue) -> None:
        """Makes the queue. Raises WrongUsage, AwsRefused, AwsUnreachable."""
        name = replies_name(work.name, uuid.uuid4().hex[:12])
        if len(name) > LONGEST_NAME:
            raise WrongUsage(
                f"{work.name!r} is too long for the name of a work queue: {name!r}, for replies, has {len(name)} "
                f"characters, and SQS takes {LONGEST_NAME}."
            )
        self._work = work
        self._queue = work.create_sibling(name, _RETENTION_S, life())
        self._waiting: dict[str, Future[Incoming]] = {}
        self._change = threading.Condition()
        self._closed = False
        self._over = threading.Event()
        threading.Thread(target=self._listen, name="replies", daemon=True).start()
        threading.Thread(target=keep_alive, args=[self._queue, self._over], name="alive", daemon=True).start()

    @property
    def name(self) -> str:
        """The name of the queue."""
        return self._queue.name

    @property
    def awaited(self) -> int:
        """How many replies are waited for."""
        return len(self._waiting)

    @contextmanager
    def expected(self, number: str) -> Iterator[Future[Incoming]]:
        """The reply to a request, which is waited for until the end of the block; what comes later is dropped. The
        future is cancelled by `close`."""
        reply: Future[Incoming] = Future()
        with self._change:
            if self._closed:
                reply.cancel()
            else:
                self._waiting[number] = reply
                self._change.notify()
        try:
            yield reply
        finally:
            with self._change:
                self._waiting.pop(number, None)

    def close(self) -> None:
        """Delete the queue; who still waits for a reply gets none."""
        self._over.set()
        with self._change:
            self._closed = True
            for reply in self._waiting.values():
                reply.cancel()
            self._waiting.clear()
            self._change.notify()
        with suppress(AwsRefused, AwsUnreachable):
            self._queue.destroy()

    def _listen(self) -> None:
        read: list[str] = []
        while self._is_listening():
            try:
                messages = self._queue.receive(MOST_TOGETHER, _POLL_S)
                if not messages:
                    self._work.check()  # whoever waits may ask it nothing for a long time
                read += [message.handle for message in messages]
                for message in messages:
                    self._hand_out(message)
                # Those that remain are deleted with the queue; if they come again before, nobody waits for them.
                if len(read) >= MOST_TOGETHER:
                    self._queue.delete(read)
                    read = []
            except AwsUnreachable:
                with self._change:
                    self._change.wait_for(lambda: self._closed, _PAUSE_S)
            except AwsRefused as error:
                self._fail(error)

    def _is_listening(self) -> bool:
        """Waits until somebody else waits. False after `close`."""
        with self._change:
            self._change.wait_for(lambda: self._waiting or self._closed)
            return not self._closed

    def _hand_out(self, message: Incoming) -> None:
        with suppress(BadFrame), self._change:
            reply = self._waiting.pop(read_id(message), None)
            if reply is not None:
                reply.set_result(message)

    def _fail(self, error: AwsRefused) -> None:
        with self._change:
            for reply in self._waiting.values():
                reply.set_exception(error)
            self._waiting.clear()
