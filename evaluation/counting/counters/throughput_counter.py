"""Records by the minute of their start, and the first and last start of groups of records."""

import numpy as np

from hybrid_batch.evaluation.counting.encoding.fixed_point import Integers

MINUTE_US = 60_000_000
NO_START = np.iinfo(np.int64).max


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


class SpanCounter:
    """The first and the last start of the records of each group."""

    def __init__(self) -> None:
        self._spans = np.zeros((2, 0), np.int64)

    def add(self, groups: Integers, start_us: Integers) -> None:
        """Add records by group and start, in microseconds since 1970 (UTC)."""
        self._grow(int(groups.max(initial=-1)) + 1)
        np.minimum.at(self._spans[0], groups, start_us)
        np.maximum.at(self._spans[1], groups, start_us)

    def columns(self, groups: int) -> dict[str, Integers]:
        """The columns `first_us` and `last_us` of the tally `runs`; NO_START and -NO_START in a group without one."""
        self._grow(groups)
        first, last = self._spans[:, :groups]
        return {"first_us": first, "last_us": last}

    def _grow(self, groups: int) -> None:
        new = groups - self._spans.shape[1]
        if new > 0:
            empty = np.repeat(np.array([[NO_START], [-NO_START]]), new, axis=1)
            self._spans = np.concatenate([self._spans, empty], axis=1)
