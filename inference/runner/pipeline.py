"""Overlapping stages: each takes an iterator and returns an iterator, so that no stage ever holds the data set."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


# A thread that is inside a C++ library when the interpreter exits aborts the process, so stages get time to end.
_INTERRUPT_GRACE_S = 1.0
_SIGNAL_CHECK_S = 0.5  # Python handles a signal that arrives just before a wait only after the wait


class _Stopped(Exception):
    """The pipeline was left."""


class Pipeline:
    """A context in which stages run, each in its own threads. A stage pulls from the stage before it as soon as that
    has a result. On exit no stage starts another item, and running items are awaited; after a KeyboardInterrupt, stages
    with `wait_on_interrupt=False` get one second to finish."""

    def __init__(self) -> None:
        self._stages: list[_Stage[Any, Any]] = []

    def map_ordered(
        self,
        stage: Callable[[In], Out],
        items: Iterable[In],
        *,
        name: str,
        threads: int = 1,
        prefetch: int = 1,
        reorder_buffer: int = 0,
        wait_on_interrupt: bool = True,
    ) -> Iterator[Out]:
        """The results of `stage` for all items, in the order of the items, computed by `threads` threads.

        At most `threads + prefetch` items are pulled whose results have not been taken. While the first of them is
        unfinished, `reorder_buffer` more may be pulled, so that one slow item does not stop the others. An exception
        of `stage` or `items` is raised where the result would be taken; after it no item is started."""
        started = _Stage(stage, iter(items), threads + prefetch, reorder_buffer, wait_on_interrupt=wait_on_interrupt)
        self._stages.append(started)
        started.start(name, threads)
        return started

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stage in self._stages:
            stage.stop()
        deadline = time.monotonic() + _INTERRUPT_GRACE_S if isinstance(error, KeyboardInterrupt) else None
        for stage in self._stages:
            stage.join(deadline)


class _Slot(Generic[Out]):
    """The place of one result: `result` or `error` is set before `done`."""

    __slots__ = ("done", "error", "result")

    def __init__(self) -> None:
        self.done = False
        self.error: BaseException | None = None
        self.result: Out


class _Stage(Generic[In, Out]):
    """The threads and results of one `map_ordered`. One thread at a time takes results: the caller of `map_ordered`, or
    the thread of the next stage that holds that stage's `_pull_lock`.

    Invariants; `_changed` guards `_slots`, `_exhausted` and `_stopped`:
    - `_slots` has one slot for each item that was pulled and whose result was not taken, in the order of the items: a
      thread holds `_pull_lock` from before it pulls an item until it has appended the slot.
    - An item is pulled only when there are fewer than `window` slots, or than `window + reorder_buffer` while the first
      slot is unfinished. Between that check and the append no other thread can append.
    - Once `_exhausted` (no items left, or an exception) or `_stopped` is set, no item is pulled.
    - Results are taken from the front, so an exception is raised after all results before it.
    - `_pull_lock` is acquired before `_changed`; `_changed` is not held while `items` or `stage` runs.
    """

    def __init__(
        self,
        stage: Callable[[In], Out],
        items: Iterator[In],
        window: int,
        reorder_buffer: int,
        *,
        wait_on_interrupt: bool,
    ) -> None:
        self._stage, self._items, self._wait_on_interrupt = stage, items, wait_on_interrupt
        self._window, self._reorder_buffer = window, reorder_buffer
        self._pull_lock = threading.Lock()
        self._changed = threading.Condition()
        self._slots: deque[_Slot[Out]] = deque()
        self._exhausted = self._stopped = False
        self._threads: list[threading.Thread] = []

    def start(self, name: str, threads: int) -> None:
        self._threads += [
            threading.Thread(target=self._run, name=f"{name}_{number}", daemon=True) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def join(self, deadline: float | None) -> None:
        """Wait for running items; until `deadline` (of `time.monotonic`) if the stage need not be awaited. Threads that
        an interrupt kept from starting are skipped; any that start later find the stage stopped."""
        for thread in filter(threading.Thread.is_alive, self._threads):
            thread.join(None if self._wait_on_interrupt or deadline is None else max(0, deadline - time.monotonic()))

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Out:
        with self._changed:
            while not (self._stopped or (self._slots[0].done if self._slots else self._exhausted)):
                self._changed.wait(_SIGNAL_CHECK_S)
            if self._stopped:
                raise _Stopped
            if not self._slots:
                raise StopIteration
            slot = self._slots.popleft()
            self._changed.notify_all()
        if slot.error is not None:
            raise slot.error
        return slot.result

    def _run(self) -> None:
        while (pulled := self._pull()) is not None:
            slot, item = pulled
            try:
                slot.result = self._stage(item)
            except BaseException as error:
                slot.error = error
            self._finish(slot)

    def _pull(self) -> tuple[_Slot[Out], In] | None:
        """The next item and the slot of its result; None when no item is left or none may be started."""
        with self._pull_lock:
            with self._changed:
                while not (self._stopped or self._exhausted or self._has_room()):
                    self._changed.wait()
                if self._stopped or self._exhausted:
                    return None
            slot = _Slot[Out]()
            try:
                item = next(self._items)
            except (StopIteration, _Stopped):
                self._exhaust(None)
                return None
            except BaseException as error:
                slot.error = error
                self._exhaust(slot)
                return None
            with self._changed:
                self._slots.append(slot)
            return slot, item

    def _has_room(self) -> bool:
        first_unfinished = bool(self._slots) and not self._slots[0].done
        return len(self._slots) < self._window + (self._reorder_buffer if first_unfinished else 0)

    def _finish(self, slot: _Slot[Out]) -> None:
        with self._changed:
            slot.done = True
            self._exhausted = self._exhausted or slot.error is not None
            self._changed.notify_all()

    def _exhaust(self, failed: _Slot[Out] | None) -> None:
        """Pull no more items; `failed` holds the exception of `items`."""
        with self._changed:
            self._exhausted = True
            if failed is not None:
                failed.done = True
                self._slots.append(failed)
            self._changed.notify_all()


class Draining(Exception):
    """The guarded context has been left: no computation may start."""


class DrainGuard:
    """A context that exits when no computation runs, and lets none start afterwards.

    It protects computations in threads that a pipeline need not await: a thread that is inside a C++ library when the
    interpreter exits aborts the process. Usable from several threads at once."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._draining = False

    @contextmanager
    def hold(self) -> Iterator[None]:
        """A computation that the guard waits for. Raises Draining."""
        with self._changed:
            if self._draining:
                raise Draining
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._draining = True
            self._changed.wait_for(lambda: not self._running)
