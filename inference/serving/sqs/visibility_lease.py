"""The messages that a worker has in hand: hidden from other workers until they are answered or given back."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Self

from hybrid_batch.data.aws.queue import Incoming, Queue
from hybrid_batch.data.errors import AwsRefused, AwsUnreachable


class Holding:
    """Threads may use it at once. Inside its block messages stay hidden however long they are held; at the end of the
    block those still in hand are given back to the queue."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._handles: set[str] = set()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="visibility", daemon=True)

    def __enter__(self) -> Self:
        self._keeper.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._keeper.join()
        with suppress(AwsRefused, AwsUnreachable):  # they come back by themselves, later
            self.give_back(self._all())

    def __len__(self) -> int:
        return len(self._handles)

    def take(self, messages: Sequence[Incoming]) -> None:
        """Take messages that were just received."""
        with self._lock:
            self._handles |= {message.handle for message in messages}

    def finish(self, handles: Sequence[str]) -> None:
        """Delete messages that are done with. Raises AwsRefused, AwsUnreachable."""
        self.let_go(handles)
        self._queue.delete(handles)

    def give_back(self, handles: Sequence[str]) -> None:
        """Show messages to other workers at once. Raises AwsRefused, AwsUnreachable."""
        self.let_go(handles)
        self._queue.hide(handles, 0)

    def let_go(self, handles: Sequence[str]) -> None:
        """Leave messages to themselves: the queue shows them again in its own time."""
        with self._lock:
            self._handles -= set(handles)

    def _keep(self) -> None:
        while not self._over.wait(self._queue.visibility_s / 3):
            with suppress(AwsRefused, AwsUnreachable):  # the next time comes before it is too late
                self._queue.hide(self._all(), self._queue.visibility_s)

    def _all(self) -> list[str]:
        with self._lock:
            return list(self._handles)
