"""What a server counts: requests, refusals, bytes, stages, load, compiled cuts. Prometheus is not imported for that."""

import os
import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from hybrid_batch.inference.serving.monitoring.metric_layout import (
    BUCKETS_S,
    NUMBERS_PER_STAGE,
    CutTotal,
    Gauge,
    MetricLayout,
    Refusal,
    Stage,
    Total,
)
from hybrid_batch.inference.serving.monitoring.metric_values import MetricValues
from hybrid_batch.inference.serving.monitoring.shared_counters import SharedCounters
from hybrid_batch.inference.serving.segment_cache import CacheState


@dataclass(frozen=True, slots=True)
class InferenceTimes:
    """Durations of the stages of one inference request in seconds, and the images of it."""

    images: int
    decode_s: float
    queue_s: float
    compute_s: float
    encode_s: float

    def milliseconds(self) -> dict[str, float]:
        """The durations by stage."""
        return {
            Stage.DECODE: self.decode_s * 1000,
            Stage.QUEUE: self.queue_s * 1000,
            Stage.COMPUTE: self.compute_s * 1000,
            Stage.ENCODE: self.encode_s * 1000,
        }


class ServerMetrics:
    """The counts of one server for the cuts with these ids. Thread-safe. With `path`, a file, all processes of the
    server share them."""

    def __init__(self, cut_ids: Sequence[str], path: str | None = None) -> None:
        self._layout = layout = MetricLayout(cut_ids)
        self._counters = SharedCounters(layout.size, path)
        self._own, self._lock = self._counters.own, self._counters.lock
        self._compiled = CacheState()
        for index in layout.gauges.values():  # of the process that had this row before
            self._own[index] = 0
        self._own[layout.gauges[Gauge.PID]] = os.getpid()

    def count_request(self, operation: str, status: int, received_bytes: int = 0, sent_bytes: int = 0) -> None:
        """Count a reply, with the bytes of the bodies. `operation` is one of OPERATIONS."""
        index = self._layout.request(operation, status)
        with self._lock:
            self._own[index] += 1
            self._own[_RECEIVED_BYTES] += received_bytes
            self._own[_SENT_BYTES] += sent_bytes

    def refuse(self, reason: Refusal) -> None:
        """Count a refused request or connection."""
        with self._lock:
            self._own[self._layout.refusals[reason]] += 1

    def add_connections(self, change: int) -> None:
        """Count opened (1) or closed (-1) connections."""
        with self._lock:
            self._own[_CONNECTIONS] += change

    def set_load(self, pending: int, held_bytes: int) -> None:
        """Set the number of requests in the server and the bytes that they hold."""
        self._own[_PENDING] = pending
        self._own[_HELD_BYTES] = held_bytes

    def set_compiled(self, state: CacheState) -> None:
        """Set the numbers of the compiled cuts."""
        own = self._own
        with self._lock:
            own[_COMPILED_CUTS], own[_COMPILED_BYTES] = state.cuts, state.held_bytes
            own[_COMPILATIONS] += state.compilations - self._compiled.compilations
            own[_EVICTIONS] += state.evictions - self._compiled.evictions
            self._compiled = state

    def observe(self, stage: Stage, seconds: float) -> None:
        """Count the duration of a stage."""
        with self._lock:
            self._observe(stage, seconds)

    def count_inference(self, cut_id: str, times: InferenceTimes, total_s: float) -> None:
        """Count an inference request that was computed."""
        at, own = self._layout.cuts[cut_id], self._own
        values = (times.images, 1, 1, total_s, 0, 0, times.queue_s, times.decode_s, times.compute_s, times.encode_s)
        with self._lock:
            self._observe(Stage.DECODE, times.decode_s)
            self._observe(Stage.QUEUE, times.queue_s)
            self._observe(Stage.COMPUTE, times.compute_s)
            self._observe(Stage.ENCODE, times.encode_s)
            for index, value in enumerate(values, at):
                own[index] += value
            own[at + self._layout.cut_totals[CutTotal.LAST_AT_S]] = time.time()

    def count_failure(self, cut_id: str, total_s: float) -> None:
        """Count an inference request that failed."""
        at = self._layout.cuts[cut_id] + self._layout.cut_totals[CutTotal.FAILURES]
        with self._lock:
            self._own[at] += 1
            self._own[at + 1] += total_s

    def read(self) -> MetricValues:
        """The present values of all processes."""
        return MetricValues(self._layout, self._counters.rows())

    def _observe(self, stage: Stage, seconds: float) -> None:
        at = self._layout.stages[stage]
        self._own[at + bisect_left(BUCKETS_S, seconds)] += 1
        self._own[at + NUMBERS_PER_STAGE - 1] += seconds


_FIXED = MetricLayout(())
_CONNECTIONS, _PENDING, _HELD_BYTES, _COMPILED_CUTS, _COMPILED_BYTES = (
    _FIXED.gauges[gauge]
    for gauge in (Gauge.CONNECTIONS, Gauge.PENDING, Gauge.HELD_BYTES, Gauge.COMPILED_CUTS, Gauge.COMPILED_BYTES)
)
_COMPILATIONS, _EVICTIONS, _RECEIVED_BYTES, _SENT_BYTES = (_FIXED.totals[total] for total in Total)
