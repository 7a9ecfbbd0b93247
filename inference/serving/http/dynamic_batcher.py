"""Micro-batching: while the engine is busy requests queue, and its next call takes all that wait for one cut.

There is no window to wait in, and no thread to hand over to: a lone request is computed at once, by whoever brought it.
"""

import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from hybrid_batch.inference.model.cuts import Cut
from hybrid_batch.inference.serving.executor import TailWorker
from hybrid_batch.inference.serving.inference_request import Computed, compute


@dataclass(frozen=True, slots=True)
class _Waiting:
    cut: Cut
    tensors: list[np.ndarray]
    done: Future[Computed]

    @property
    def batch(self) -> int:
        return len(self.tensors[0])


class Batcher:
    """Makes one engine call at a time; threads may use it at once."""

    def __init__(self, worker: TailWorker, max_batch: int) -> None:
        self._worker = worker
        self._max_batch = max_batch
        self._waiting: deque[_Waiting] = deque()
        self._computing = False
        self._lock = threading.Lock()

    def compute(self, cut: Cut, tensors: list[np.ndarray], done: Future[Computed]) -> None:
        """Have the scores of boundary tensors computed, together with what else waits for the cut. If the engine is
        free the caller does it, and all that comes meanwhile; otherwise this returns at once. `done` is told either
        way, before others are computed."""
        with self._lock:
            self._waiting.append(_Waiting(cut, tensors, done))
            if self._computing:
                return
            self._computing = True
        while together := self._next():
            self._call(together)

    def _next(self) -> list[_Waiting]:
        with self._lock:
            self._computing = bool(self._waiting)
            return self._take() if self._waiting else []

    def _call(self, together: list[_Waiting]) -> None:
        try:
            results = compute(self._worker, together[0].cut, [waiting.tensors for waiting in together])
        except Exception as error:
            for waiting in together:
                waiting.done.set_exception(error)
            return
        for waiting, computed in zip(together, results, strict=True):
            waiting.done.set_result(computed)

    def _take(self) -> list[_Waiting]:
        """The oldest request and, in order, those for the same cut that fit into a batch with it."""
        cut, images = self._waiting[0].cut, 0
        taken: list[_Waiting] = []
        left: deque[_Waiting] = deque()
        for waiting in self._waiting:
            if waiting.cut is cut and (not taken or images + waiting.batch <= self._max_batch):
                taken.append(waiting)
                images += waiting.batch
            else:
                left.append(waiting)
        self._waiting = left
        return taken
