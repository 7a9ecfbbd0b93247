"""Images per second over the time in which runs were active."""

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from hybrid_batch.evaluation.counting.counters.throughput_counter import MINUTE_US, NO_SHARD
from hybrid_batch.evaluation.report_schema import Throughput


def build_throughput(periods: pa.Table) -> Throughput:
    """The throughput from the tally `periods`. Time without a shard in work is a pause, not active.

    In records of version 1, which have no shard, it is more than a minute without a start or an end.
    """
    rows = periods.sort_by([("first_us", "ascending"), ("last_us", "ascending")]).to_pylist()
    of_shards = ((row["first_us"], row["last_us"]) for row in rows if row["shard"] != NO_SHARD)
    of_minutes = _without_short_gaps(row for row in rows if row["shard"] == NO_SHARD)
    active_us, end_us = 0, None
    for start, end in sorted([*of_shards, *of_minutes]):
        start_us = start if end_us is None else max(start, end_us)
        active_us += max(end - start_us, 0)
        end_us = max(end, start_us)
    records = sum(periods["records"].to_pylist())
    return Throughput(active_s=active_us / 1e6, images_per_s=records * 1e6 / active_us if active_us else None)


def _without_short_gaps(rows: Iterable[dict[str, Any]]) -> Iterator[tuple[int, int]]:
    """The periods of rows by ascending start, joined where the gap is at most a minute."""
    start_us = end_us = None
    for row in rows:
        if start_us is None or end_us is None:
            start_us, end_us = row["first_us"], row["last_us"]
        elif row["first_us"] - end_us > MINUTE_US:
            yield start_us, end_us
            start_us, end_us = row["first_us"], row["last_us"]
        else:
            end_us = max(end_us, row["last_us"])
    if start_us is not None and end_us is not None:
        yield start_us, end_us
