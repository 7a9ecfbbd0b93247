"""Evaluate runs in threads of this process, one for each core."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from hybrid_batch.evaluation.counting.counts import Counts, merge_counts
from hybrid_batch.evaluation.report import build_report
from hybrid_batch.evaluation.report_schema import Report
from hybrid_batch.jobs.input.part_list import Part, count_parts, require_complete


def evaluate(parts: Sequence[Part], by: Sequence[str] = (), skip_unreadable: bool = False) -> Report:
    """The report of the parts, sliced also by the columns `by`.

    Raises NotARun for a part that cannot be counted, unless `skip_unreadable`.
    """
    report = build_report(count(parts, by))
    return report if skip_unreadable else require_complete(report)


def count(parts: Sequence[Part], by: Sequence[str] = (), threads: int | None = None) -> Counts:
    """The counts of the parts, computed in `threads` threads, by default one for each core.

    A thread has one batch of records and one set of counts in memory, for any number of parts.
    """
    threads = max(1, min(len(parts), threads or os.cpu_count() or 1))
    queue = iter(list(parts))  # shared by the threads: a list's iterator returns each part to one of them
    with ThreadPoolExecutor(threads) as pool:
        try:
            counted = as_completed([pool.submit(count_parts, queue, by) for _ in range(threads)])
            return merge_counts(one.result() for one in counted)  # raises the error of the first thread that fails
        finally:
            for _ in queue:  # after an interrupt, threads finish their current parts and take no more
                pass
