"""Keeps the messages that a worker has received invisible to other workers until they are deleted or released."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Self

from hybrid_batch.data.aws.queue import ReceivedMessage, SqsQueue
from hybrid_batch.data.errors import AwsRefused, AwsUnreachable


class VisibilityLease:
    """Inside its block a thread renews the visibility timeout of tracked messages; at the end of the block those that
    are still tracked are released. Thread-safe."""

    def __init__(self, queue: SqsQueue) -> None:
        self._queue = queue
        self._handles: set[str] = set()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._renewer = threading.Thread(target=self._renew, name="visibility", daemon=True)

    def __enter__(self) -> Self:
        self._renewer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._renewer.join()
        with suppress(AwsRefused, AwsUnreachable):  # the messages become visible after their timeout
            self.release(self._tracked())

    def __len__(self) -> int:
        return len(self._handles)

    def track(self, messages: Sequence[ReceivedMessage]) -> None:
        """Start keeping received messages invisible."""
        with self._lock:
            self._handles |= {message.receipt_handle for message in messages}

    def delete(self, handles: Sequence[str]) -> None:
        """Delete processed messages from the queue. Raises AwsRefused, AwsUnreachable."""
        self.forget(handles)
        self._queue.delete(handles)

    def release(self, handles: Sequence[str]) -> None:
        """Make messages visible to other workers at once. Raises AwsRefused, AwsUnreachable."""
        self.forget(handles)
        self._queue.change_visibility(handles, 0)

    def forget(self, handles: Sequence[str]) -> None:
        """Stop keeping messages invisible: they become visible after their timeout."""
        with self._lock:
            self._handles -= set(handles)

    def _renew(self) -> None:
        while not self._over.wait(self._queue.visibility_s / 3):
            with suppress(AwsRefused, AwsUnreachable):  # the next renewal is still in time
                self._queue.change_visibility(self._tracked(), self._queue.visibility_s)

    def _tracked(self) -> list[str]:
        with self._lock:
            return list(self._handles)
