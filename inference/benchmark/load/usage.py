"""CPU time and peak memory of a process while it works."""

import threading
from typing import Self

import psutil

_INTERVAL_S = 0.05


class ProcessUsage:
    """Measures a process and the children it has at the start, for the duration of the block.

    `cpu_s` is user and system time spent within the block; `peak_bytes` is the largest resident memory of all these
    processes together, sampled every 50 ms."""

    def __init__(self, process: psutil.Process) -> None:
        self._processes = [process, *process.children(recursive=True)]
        self._done = threading.Event()
        self._sampler = threading.Thread(target=self._sample_memory, daemon=True)
        self.cpu_s = 0.0
        self.peak_bytes = 0

    def __enter__(self) -> Self:
        self._before_s = self._total_cpu_s()
        self._sampler.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._sampler.join()
        self.cpu_s = self._total_cpu_s() - self._before_s

    def _sample_memory(self) -> None:
        while True:
            try:
                self.peak_bytes = max(self.peak_bytes, sum(one.memory_info().rss for one in self._processes))
            except psutil.NoSuchProcess:
                return
            if self._done.wait(_INTERVAL_S):
                return

    def _total_cpu_s(self) -> float:
        total_s = 0.0
        for process in self._processes:
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total_s += times.user + times.system
        return total_s
