"""Images per second over the time in which a run was active."""

import pyarrow as pa

from hybrid_batch.evaluation.counting.counters.throughput_counter import MINUTE_US
from hybrid_batch.evaluation.report_schema import Throughput


def build_throughput(minutes: pa.Table) -> Throughput:
    """The throughput from the tally `minutes`. More than a minute without a start or an end is a pause, not active."""
    active_us = 0
    end_us: int | None = None
    for row in minutes.sort_by("minute").to_pylist():
        if end_us is None or row["first_us"] - end_us > MINUTE_US:
            start_us = row["first_us"]
        else:
            start_us = min(end_us, row["last_us"])
        active_us += max(row["last_us"] - start_us, 0)
        end_us = max(end_us or row["last_us"], row["last_us"])
    records = sum(minutes["records"].to_pylist())
    return Throughput(active_s=active_us / 1e6, images_per_s=records * 1e6 / active_us if active_us else None)
