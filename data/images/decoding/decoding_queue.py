"""Threads that decode the images of requests, one image at a time in a fair order and in bounded memory.

Self-clocked fair queueing (Golestani, INFOCOM 1994): each image has a tag, the virtual time at which it would end if
all requests shared the threads equally, and the image with the least tag is next. A small image therefore overtakes
larger ones that wait, and no request delays another by more than the images that are being decoded."""

import heapq
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from hybrid_batch.data.freed_memory import return_freed_memory
from hybrid_batch.data.images.decoding.pixel_budget import DecodingCost

Steps = Iterator[DecodingCost]
# glibc keeps up to 64 MB of freed blocks in each of its arenas, so memory is returned after decoding this much.
_RETURN_AFTER_BYTES = 128 << 20
_SMALL_BYTES = 4 << 20


@dataclass(order=True, slots=True)
class _WaitingImage:
    tag: int
    number: int
    cost: DecodingCost = field(compare=False)
    steps: Steps = field(compare=False)


class DecodingQueue:
    """Runs the steps of requests. A step decodes one image, and yields the cost of the next. Images that are decoded at
    the same time need at most `max_bytes` together, except that one alone may need more. Threads start with the first
    request, one for each processor. Thread-safe."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._waiting: list[_WaitingImage] = []
        self._clock = self._number = self._held_bytes = self._running = self._freed_bytes = 0
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._changed = threading.Condition()

    def add(self, cost: DecodingCost, steps: Steps) -> None:
        """Run the steps of a request; `cost` is that of the first."""
        with self._changed:
            self._push(self._clock, cost, steps)
            if not self._threads:
                self._threads = [
                    threading.Thread(target=self._work, name=f"decode-{number}", daemon=True)
                    for number in range(os.cpu_count() or 1)
                ]
                for thread in self._threads:
                    thread.start()

    def close(self) -> None:
        """Stop the threads when all steps are done."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _push(self, start: int, cost: DecodingCost, steps: Steps) -> None:
        self._number += 1
        heapq.heappush(self._waiting, _WaitingImage(max(start, self._clock) + cost.work, self._number, cost, steps))
        self._changed.notify()

    def _work(self) -> None:
        while (image := self._take()) is not None:
            following = next(image.steps, None)
            if self._has_freed(image.cost.peak_bytes):
                return_freed_memory()
            with self._changed:
                self._held_bytes -= image.cost.peak_bytes
                self._running -= 1
                if following is not None:
                    self._push(image.tag, following, image.steps)
                self._changed.notify_all()

    def _has_freed(self, peak_bytes: int) -> bool:
        """Whether decoded images, this one of `peak_bytes` included, have freed much memory since it was returned."""
        with self._changed:
            self._freed_bytes += peak_bytes if peak_bytes > _SMALL_BYTES else 0
            is_much = self._freed_bytes >= _RETURN_AFTER_BYTES
            self._freed_bytes = 0 if is_much else self._freed_bytes
        return is_much

    def _take(self) -> _WaitingImage | None:
        """The next image that fits, or None when the queue is closed and empty."""
        with self._changed:
            while True:
                for image in self._fitting():
                    self._waiting.remove(image)
                    heapq.heapify(self._waiting)
                    self._clock = max(self._clock, image.tag)
                    self._held_bytes += image.cost.peak_bytes
                    self._running += 1
                    return image
                if self._closed and not self._waiting and not self._running:
                    return None
                self._changed.wait()

    def _fitting(self) -> Iterator[_WaitingImage]:
        """The image with the least tag that fits into the free memory, if there is one. A larger one that waits longer
        is served when the others are done, because their tags grow."""
        for image in heapq.nsmallest(len(self._waiting), self._waiting):
            if not self._held_bytes or self._held_bytes + image.cost.peak_bytes <= self._max_bytes:
                yield image
                return
