"""The batches that are meant for the tail and not answered yet, and how long it has been silent about them."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from hybrid_batch.inference.planner.adapt.link_estimator import Watch
from hybrid_batch.inference.planner.plan.candidates import Candidate
from hybrid_batch.inference.runner.batch import Batch

_SILENCE_US, _SILENCE = 500_000, 3  # so long, and so many times what an answer takes, is a change


@dataclass(slots=True)
class Flight:
    """A batch on its way, as the profile tells it; when (µs) and with how many bytes its frame left, 0 before."""

    told: Candidate
    sent_us: float = 0.0
    sent_bytes: int = 0


class Flights:
    """Not for several threads at once."""

    def __init__(self) -> None:
        self._flights: dict[int, Flight] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def expect(self, batch: Batch, told: Candidate) -> None:
        """It will be sent."""
        self._flights[id(batch)] = Flight(told)

    def leave(self, batch: Batch) -> None:
        """Its frame leaves now."""
        flight = self._flights[id(batch)]
        flight.sent_us, flight.sent_bytes = now_us(), sum(len(tensor.data) for tensor in batch.load.tensors)

    def end(self, batch: Batch) -> Flight | None:
        """It is answered or lost; None for one that was never expected."""
        return self._flights.pop(id(batch), None)

    def waiting_since(self) -> float:
        """When (µs) the first of the frames on their way left."""
        return min((flight.sent_us for flight in self._sent()), default=math.inf)

    def silence(self, watch: Watch, usual_us: Callable[[Candidate], float]) -> tuple[float, int]:
        """For how long (µs) no answer came that was due, and the bytes on their way; nothing while all is usual, as
        `usual_us` tells of a batch's time between answers."""
        sent = self._sent()
        if not sent:
            return 0.0, 0
        began = max(watch.last_us, min(flight.sent_us for flight in sent))
        tail_us = max(flight.told.tail_us * flight.told.batch for flight in sent) * watch.conditions.tail
        silence_us = now_us() - began - tail_us - watch.link.round_trip_us
        if silence_us < max(_SILENCE_US, _SILENCE * max(usual_us(flight.told) for flight in sent)):
            return 0.0, 0
        return silence_us, sum(flight.sent_bytes for flight in sent)

    def _sent(self) -> list[Flight]:
        return [flight for flight in self._flights.values() if flight.sent_us]


def now_us() -> float:
    """The clock of flights and transfers."""
    return time.perf_counter_ns() / 1000
