"""Micro-batching: while the engine is busy requests queue, and its next call takes all that wait for one cut.

There is no window to wait in: a lone request is computed at once.
"""

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from inference.asked import Computed, compute
from inference.cuts import Cut
from inference.tails.worker import TailWorker


@dataclass(frozen=True, slots=True)
class _Waiting:
    cut: Cut
    tensors: list[np.ndarray]
    done: asyncio.Future[Computed]

    @property
    def batch(self) -> int:
        return len(self.tensors[0])


class Batcher:
    """Makes one engine call at a time; belongs to one event loop."""

    def __init__(self, worker: TailWorker, max_batch: int) -> None:
        self._worker = worker
        self._max_batch = max_batch
        self._waiting: deque[_Waiting] = deque()
        self._engine = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._computing: asyncio.Task[None] | None = None

    async def compute(self, cut: Cut, tensors: list[np.ndarray]) -> Computed:
        """The scores of boundary tensors, computed together with what else waits for the cut."""
        waiting = _Waiting(cut, tensors, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._computing is None:
            self._computing = asyncio.create_task(self._compute_all())
        return await waiting.done

    def close(self) -> None:
        """Let go of the engine's thread."""
        self._engine.shutdown()

    async def _compute_all(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            together = self._take()
            try:
                results = await loop.run_in_executor(self._engine, self._call, together)
            except Exception as error:
                for waiting in together:
                    if not waiting.done.done():
                        waiting.done.set_exception(error)
            else:
                for waiting, computed in zip(together, results, strict=True):
                    if not waiting.done.done():
                        waiting.done.set_result(computed)
        self._computing = None

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

    def _call(self, together: list[_Waiting]) -> list[Computed]:
        return compute(self._worker, together[0].cut, [waiting.tensors for waiting in together])
