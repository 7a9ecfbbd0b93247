"""The batches that were admitted for the tail and have no response yet, and the detection of a stall."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from hybrid_batch.inference.planner.adapt.link_estimator import LinkEstimator
from hybrid_batch.inference.planner.plan.candidates import Candidate
from hybrid_batch.inference.runner.batch import Batch

# Without a response for this long, and this many times the usual time between responses, the link has changed.
_STALL_US, _STALL_FACTOR = 500_000, 3


@dataclass(slots=True)
class InFlightBatch:
    """A batch, with the profile's prediction. `sent_us` and `sent_bytes` are 0 until its frame is sent."""

    predicted: Candidate
    sent_us: float = 0.0
    sent_bytes: int = 0


class InFlightBatches:
    """Not thread-safe."""

    def __init__(self) -> None:
        self._batches: dict[int, InFlightBatch] = {}

    def __len__(self) -> int:
        return len(self._batches)

    def add(self, batch: Batch, predicted: Candidate) -> None:
        """Add a batch that will be sent."""
        self._batches[id(batch)] = InFlightBatch(predicted)

    def mark_sent(self, batch: Batch, frame_bytes: int) -> None:
        """Record that the batch's frame is sent now."""
        entry = self._batches[id(batch)]
        entry.sent_us, entry.sent_bytes = now_us(), frame_bytes

    def remove(self, batch: Batch) -> InFlightBatch | None:
        """Remove a batch that has its response or has failed; None if it was not added."""
        return self._batches.pop(id(batch), None)

    def oldest_sent_us(self) -> float:
        """The time at which the oldest frame in flight was sent; infinity without one."""
        return min((entry.sent_us for entry in self._sent()), default=math.inf)

    def stall(self, estimator: LinkEstimator, interval_us: Callable[[Candidate], float]) -> tuple[float, int]:
        """The µs by which a response is overdue, and the bytes in flight; zeros without a stall.

        `interval_us` gives the usual time between responses to batches like one with this prediction."""
        sent = self._sent()
        if not sent:
            return 0.0, 0
        start_us = max(estimator.last_response_us, min(entry.sent_us for entry in sent))
        longest_us = max(entry.predicted.times.tail_us * entry.predicted.batch for entry in sent)
        expected_us = longest_us * estimator.conditions.tail_factor + estimator.link.round_trip_us
        overdue_us = now_us() - start_us - expected_us
        if overdue_us < max(_STALL_US, _STALL_FACTOR * max(interval_us(entry.predicted) for entry in sent)):
            return 0.0, 0
        return overdue_us, sum(entry.sent_bytes for entry in sent)

    def _sent(self) -> list[InFlightBatch]:
        return [entry for entry in self._batches.values() if entry.sent_us]


def now_us() -> float:
    """The clock of transfers and of batches in flight."""
    return time.perf_counter_ns() / 1000
