"""When records were made, minute by minute, and from that how many were made a second."""

import numpy as np
import pyarrow as pa

from hybrid_batch.evaluation.counting.fixed_point import Integers
from hybrid_batch.evaluation.report_schema import Throughput

MINUTE_US = 60_000_000


class Clock:
    """Of each minute in which a record was started: how many, the first start and the last end."""

    def __init__(self) -> None:
        self._minutes: dict[int, tuple[int, int, int]] = {}

    def add(self, start_us: Integers, end_us: Integers) -> None:
        """Count records by their start and end in microseconds of the epoch."""
        if not len(start_us):
            return
        minutes = start_us // MINUTE_US
        low, high = int(minutes.min()), int(minutes.max())
        if low == high:
            self._add(low, len(minutes), int(start_us.min()), int(end_us.max()))
            return
        found, places, counts = np.unique(minutes, return_inverse=True, return_counts=True)
        first, last = np.full(len(found), np.iinfo(np.int64).max), np.full(len(found), np.iinfo(np.int64).min)
        np.minimum.at(first, places, start_us)
        np.maximum.at(last, places, end_us)
        for minute in zip(found.tolist(), counts.tolist(), first.tolist(), last.tolist(), strict=True):
            self._add(*minute)

    def columns(self) -> dict[str, list[int]]:
        """The columns of the tally `minutes`."""
        rows = [(minute, *values) for minute, values in self._minutes.items()]
        names = ("minute", "records", "first_us", "last_us")
        return {name: [row[place] for row in rows] for place, name in enumerate(names)}

    def _add(self, minute: int, records: int, first_us: int, last_us: int) -> None:
        had, first, last = self._minutes.get(minute, (0, first_us, last_us))
        self._minutes[minute] = had + records, min(first, first_us), max(last, last_us)


def throughput(minutes: pa.Table) -> Throughput:
    """Records by the time in which any were under way; a minute in which none started or ended is a pause."""
    active_us = 0
    end_us: int | None = None
    for row in minutes.sort_by("minute").to_pylist():
        if end_us is None or row["first_us"] - end_us > MINUTE_US:
            begun_us = row["first_us"]
        else:
            begun_us = min(end_us, row["last_us"])
        active_us += max(row["last_us"] - begun_us, 0)
        end_us = max(end_us or row["last_us"], row["last_us"])
    records = sum(minutes["records"].to_pylist())
    return Throughput(active_s=active_us / 1e6, images_per_s=records * 1e6 / active_us if active_us else None)
