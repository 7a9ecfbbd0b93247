"""Records by the minute of their start."""

import numpy as np

from hybrid_batch.evaluation.counting.encoding.fixed_point import Integers

MINUTE_US = 60_000_000


class ThroughputCounter:
    """For each minute in which a record started: the number of records, the first start and the last end."""

    def __init__(self) -> None:
        self._minutes: dict[int, tuple[int, int, int]] = {}

    def add(self, start_us: Integers, end_us: Integers) -> None:
        """Count records by start and end, in microseconds since 1970 (UTC)."""
        if not len(start_us):
            return
        minutes = start_us // MINUTE_US
        low, high = int(minutes.min()), int(minutes.max())
        if low == high:
            self._add_minute(low, len(minutes), int(start_us.min()), int(end_us.max()))
            return
        used, places, counts = np.unique(minutes, return_inverse=True, return_counts=True)
        first, last = np.full(len(used), np.iinfo(np.int64).max), np.full(len(used), np.iinfo(np.int64).min)
        np.minimum.at(first, places, start_us)
        np.maximum.at(last, places, end_us)
        for minute in zip(used.tolist(), counts.tolist(), first.tolist(), last.tolist(), strict=True):
            self._add_minute(*minute)

    def columns(self) -> dict[str, list[int]]:
        """The columns of the tally `minutes`."""
        rows = [(minute, *values) for minute, values in self._minutes.items()]
        names = ("minute", "records", "first_us", "last_us")
        return {name: [row[place] for row in rows] for place, name in enumerate(names)}

    def _add_minute(self, minute: int, records: int, first_us: int, last_us: int) -> None:
        previous, first, last = self._minutes.get(minute, (0, first_us, last_us))
        self._minutes[minute] = previous + records, min(first, first_us), max(last, last_us)
