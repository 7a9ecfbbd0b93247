"""Evaluate on this machine alone, with a thread for each core."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from evaluation.counts import merge
from evaluation.report import Report, build
from jobs.parts import Part, count_parts, whole


def evaluate(parts: Sequence[Part]) -> Report:
    """The report of the parts; each thread holds one part and one bag of counts, however many there are.

    Raises NotARun for a part that cannot be counted.
    """
    threads = max(1, min(len(parts), os.cpu_count() or 1))
    queue = iter(list(parts))  # shared: a list's iterator gives each part to one thread only
    with ThreadPoolExecutor(threads) as pool:
        try:
            return whole(build(merge(pool.map(count_parts, [queue] * threads))))
        finally:
            for _ in queue:  # after an interrupt, leave the threads nothing but the parts in hand
                pass
