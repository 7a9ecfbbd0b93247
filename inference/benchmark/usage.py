"""What a server uses while it works: the processor's time, and memory at its most."""

import threading
from typing import Self

import psutil

_EVERY_S = 0.05


class Usage:
    """A context manager around the work of a process and the children it has by then. `cpu_s` is what the work took
    of the processor, user and system; `peak_bytes` the largest resident memory seen, looking every 50 ms."""

    def __init__(self, process: psutil.Process) -> None:
        self._tree = [process, *process.children(recursive=True)]
        self._done = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self.cpu_s = 0.0
        self.peak_bytes = 0

    def __enter__(self) -> Self:
        self._before = self._spent_s()
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watcher.join()
        self.cpu_s = self._spent_s() - self._before

    def _watch(self) -> None:
        while True:
            try:
                self.peak_bytes = max(self.peak_bytes, sum(process.memory_info().rss for process in self._tree))
            except psutil.NoSuchProcess:
                return
            if self._done.wait(_EVERY_S):
                return

    def _spent_s(self) -> float:
        total = 0.0
        for process in self._tree:
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
        return total
