"""Evaluate on this machine alone, with a thread for each core."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from hybrid_batch.evaluation.counting.counts import Counts, merge
from hybrid_batch.evaluation.report import build
from hybrid_batch.evaluation.report_schema import Report
from hybrid_batch.jobs.input.part_list import Part, count_parts, whole


def evaluate(parts: Sequence[Part], by: Sequence[str] = (), skip_bad: bool = False) -> Report:
    """The report of the parts, sliced also by the columns `by`.

    Raises NotARun for a part that cannot be counted, unless `skip_bad`.
    """
    report = build(count(parts, by))
    return report if skip_bad else whole(report)


def count(parts: Sequence[Part], by: Sequence[str] = (), threads: int | None = None) -> Counts:
    """The counts of the parts by as many threads as given, or as there are cores.

    Each holds a batch of records and one bag of counts, however many parts there are.
    """
    threads = max(1, min(len(parts), threads or os.cpu_count() or 1))
    queue = iter(list(parts))  # shared: a list's iterator gives each part to one thread only
    with ThreadPoolExecutor(threads) as pool:
        try:
            counted = as_completed([pool.submit(count_parts, queue, by) for _ in range(threads)])
            return merge(one.result() for one in counted)  # the first to fail is the first heard of
        finally:
            for _ in queue:  # after an interrupt, leave the threads nothing but the parts in hand
                pass
