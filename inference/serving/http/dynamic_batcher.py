"""Dynamic batching: while the runtime is busy requests queue, and its next call takes all requests for one cut.

No request is delayed to gather others, and no thread is dedicated to the runtime: the thread that brings a request
while the runtime is free calls it.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from hybrid_batch.inference.model.cuts import Cut
from hybrid_batch.inference.serving.executor import TailExecutor
from hybrid_batch.inference.serving.inference_request import InferenceResult, compute

_MAX_COPIED_BYTES = 64 << 20  # of tensors of several requests that are computed in one call, which copies them


@dataclass(frozen=True, slots=True)
class _QueuedTensors:
    cut: Cut
    tensors: list[np.ndarray]
    done: Future[InferenceResult]
    check: Callable[[], None]

    @property
    def size(self) -> int:
        return len(self.tensors[0])

    @property
    def bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors)


class DynamicBatcher:
    """Makes one call of the runtime at a time, for up to `max_batch` images. Thread-safe."""

    def __init__(self, executor: TailExecutor, max_batch: int) -> None:
        self._executor = executor
        self._max_batch = max_batch
        self._queue: deque[_QueuedTensors] = deque()
        self._computing = False
        self._lock = threading.Lock()

    def compute(
        self,
        cut: Cut,
        tensors: list[np.ndarray],
        done: Future[InferenceResult],
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Compute scores from boundary tensors, each (batch, *shape), and set them as the result of `done`. If the
        runtime is free the calling thread computes these, then all requests that were queued meanwhile; otherwise this
        queues the request and returns at once. `done` is set before later requests are computed. A request whose
        `check` raises when its turn comes is not computed: the exception is set."""
        with self._lock:
            self._queue.append(_QueuedTensors(cut, tensors, done, check))
            if self._computing:
                return
            self._computing = True
        while batch := self._next_batch():
            self._compute(batch)

    def _next_batch(self) -> list[_QueuedTensors]:
        with self._lock:
            self._computing = bool(self._queue)
            return self._take_batch() if self._queue else []

    def _compute(self, batch: list[_QueuedTensors]) -> None:
        batch = [queued for queued in batch if _is_wanted(queued)]
        if not batch:
            return
        try:
            results = compute(self._executor, batch[0].cut, [queued.tensors for queued in batch])
        except Exception as error:
            for queued in batch:
                queued.done.set_exception(error)
            return
        for queued, result in zip(batch, results, strict=True):
            queued.done.set_result(result)

    def _take_batch(self) -> list[_QueuedTensors]:
        """Take the oldest request and, in order, those for the same cut that fit into a batch with it."""
        cut, images, copied = self._queue[0].cut, 0, 0
        taken: list[_QueuedTensors] = []
        left: deque[_QueuedTensors] = deque()
        for queued in self._queue:
            fits = images + queued.size <= self._max_batch and copied + queued.bytes <= _MAX_COPIED_BYTES
            if queued.cut is cut and (not taken or fits):
                taken.append(queued)
                images += queued.size
                copied += queued.bytes
            else:
                left.append(queued)
        self._queue = left
        return taken


def _is_wanted(queued: _QueuedTensors) -> bool:
    try:
        queued.check()
    except Exception as error:
        queued.done.set_exception(error)
        return False
    return True
