"""Images per second over the time in which runs were active."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain

import pyarrow as pa

from hybrid_batch.evaluation.counting.counters.throughput_counter import MINUTE_US
from hybrid_batch.evaluation.report_schema import Throughput

_Period = tuple[int, int]  # the first start and the last end, in µs since 1970


def build_throughput(periods: pa.Table) -> Throughput:
    """The throughput from the tally `periods`. Time without a shard in work is a pause, not active.

    In a shard, and in records of version 1, which have none, it is more than a minute without a start or an end.
    """
    shards: dict[tuple[str | None, int], list[_Period]] = defaultdict(list)
    for row in periods.sort_by([("first_us", "ascending"), ("last_us", "ascending")]).to_pylist():
        shards[row["run_id"], row["shard"]].append((row["first_us"], row["last_us"]))
    active_us, end_us = 0, None
    for start, end in sorted(chain.from_iterable(map(_without_short_gaps, shards.values()))):
        start_us = start if end_us is None else max(start, end_us)
        active_us += max(end - start_us, 0)
        end_us = max(end, start_us)
    records = sum(periods["records"].to_pylist())
    return Throughput(active_s=active_us / 1e6, images_per_s=records * 1e6 / active_us if active_us else None)


def _without_short_gaps(periods: Iterable[_Period]) -> Iterator[_Period]:
    """Periods by ascending start, joined where the gap is at most a minute."""
    remaining = iter(periods)
    start_us, end_us = next(remaining)
    for first_us, last_us in remaining:
        if first_us - end_us > MINUTE_US:
            yield start_us, end_us
            start_us, end_us = first_us, last_us
        else:
            end_us = max(end_us, last_us)
    yield start_us, end_us
