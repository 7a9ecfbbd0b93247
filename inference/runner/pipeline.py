"""Stages that overlap: each takes an iterator and gives an iterator, and nothing ever holds the data set."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


# What a stage that waits for others is given to end: a thread inside a library of C++ when the interpreter ends aborts
# the process.
_GRACE_S = 1.0
_TICK_S = 0.5  # Python hears a signal that comes just before a wait only after it


class _Stopped(Exception):
    """The pipeline was left."""


class Pipeline:
    """Stages, each with threads of its own that take from the stage before whenever that has something: no result
    waits for the next. Use it as a context: once that is left nothing more is started, and what is under way is
    waited for, but no longer than a moment for a stage that is not `patient`, as one that waits for others, when the
    user interrupts."""

    def __init__(self) -> None:
        self._stages: list[_Stage[Any, Any]] = []

    def overlap(
        self,
        stage: Callable[[In], Out],
        items: Iterable[In],
        *,
        name: str,
        workers: int = 1,
        ahead: int = 1,
        held: int = 0,
        patient: bool = True,
    ) -> Iterator[Out]:
        """`stage` of every item, in order, computed by `workers` threads while earlier results are used.

        At most `workers + ahead` items are taken whose results have not been; while the first of them is not done,
        `held` more, so that one slow item does not stop the others. What `stage` or `items` raise is raised to whoever
        takes the result, after which nothing more is started."""
        made = _Stage(stage, iter(items), workers + ahead, held, patient=patient)
        self._stages.append(made)
        made.start(name, workers)
        return made

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stage in self._stages:
            stage.stop()
        end = time.monotonic() + _GRACE_S if isinstance(error, KeyboardInterrupt) else None
        for stage in self._stages:
            stage.join(end)


class _Slot(Generic[Out]):
    """Where a result will be."""

    __slots__ = ("done", "error", "result")

    def __init__(self) -> None:
        self.done = False
        self.error: BaseException | None = None
        self.result: Out


class _Stage(Generic[In, Out]):
    """See Pipeline.overlap. Iterated by one thread, the next stage's."""

    def __init__(self, stage: Callable[[In], Out], items: Iterator[In], most: int, held: int, *, patient: bool) -> None:
        self._stage, self._items, self._most, self._held, self._patient = stage, items, most, held, patient
        self._taking = threading.Lock()
        self._changed = threading.Condition()
        self._slots: deque[_Slot[Out]] = deque()
        self._ended = self._stopped = False
        self._threads: list[threading.Thread] = []

    def start(self, name: str, workers: int) -> None:
        self._threads += [
            threading.Thread(target=self._work, name=f"{name}_{number}", daemon=True) for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def join(self, end: float | None) -> None:
        """Wait for what is under way; until `end`, if there is one, where the stage is not patient. An interrupt may
        have come while the threads were started: the others find that the stage was stopped."""
        for thread in filter(threading.Thread.is_alive, self._threads):
            thread.join(None if self._patient or end is None else max(0, end - time.monotonic()))

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Out:
        with self._changed:
            while not (self._stopped or (self._slots[0].done if self._slots else self._ended)):
                self._changed.wait(_TICK_S)
            if self._stopped:
                raise _Stopped
            if not self._slots:
                raise StopIteration
            slot = self._slots.popleft()
            self._changed.notify_all()
        if slot.error is not None:
            raise slot.error
        return slot.result

    def _work(self) -> None:
        while (taken := self._take()) is not None:
            slot, item = taken
            try:
                slot.result = self._stage(item)
            except BaseException as error:
                slot.error = error
            self._finish(slot)

    def _take(self) -> tuple[_Slot[Out], In] | None:
        """The next item and the place of its result; None when there is nothing more to do."""
        with self._taking:
            with self._changed:
                while not (self._stopped or self._ended or self._has_room()):
                    self._changed.wait()
                if self._stopped or self._ended:
                    return None
            slot = _Slot[Out]()
            try:
                item = next(self._items)
            except (StopIteration, _Stopped):
                self._end(None)
                return None
            except BaseException as error:
                slot.error = error
                self._end(slot)
                return None
            with self._changed:
                self._slots.append(slot)
            return slot, item

    def _has_room(self) -> bool:
        waiting = bool(self._slots) and not self._slots[0].done
        return len(self._slots) < self._most + (self._held if waiting else 0)

    def _finish(self, slot: _Slot[Out]) -> None:
        with self._changed:
            slot.done = True
            self._ended = self._ended or slot.error is not None
            self._changed.notify_all()

    def _end(self, slot: _Slot[Out] | None) -> None:
        with self._changed:
            self._ended = True
            if slot is not None:
                slot.done = True
                self._slots.append(slot)
            self._changed.notify_all()
