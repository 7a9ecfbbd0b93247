"""The counts of all processes of a server, read at one time."""

import os
from collections.abc import Sequence

from hybrid_batch.inference.serving.monitoring.metric_layout import (
    NUMBERS_PER_STAGE,
    STATUSES,
    CutTotal,
    Gauge,
    MetricLayout,
    Refusal,
    Stage,
    Total,
)


class MetricValues:
    """Gauges of the processes that live, and sums of the counts of all that ever did, from their rows."""

    def __init__(self, layout: MetricLayout, rows: Sequence[Sequence[float]]) -> None:
        self.cut_ids = layout.cut_ids
        self._layout, self._rows = layout, rows
        pid = layout.gauges[Gauge.PID]
        self._living = [row for row in rows if _lives(int(row[pid]))]
        self.processes = [int(row[pid]) for row in self._living]

    def gauge(self, gauge: Gauge) -> float:
        """The sum of a present value."""
        return sum(row[self._layout.gauges[gauge]] for row in self._living)

    def total(self, total: Total) -> float:
        """The sum of a count."""
        return self._sum(self._layout.totals[total])

    def requests(self) -> dict[tuple[str, int], float]:
        """Numbers of replies by operation and status, without zeros. Status 0 is any that has no number of its own."""
        keys = [(operation, status) for operation in self._layout.operations for status in STATUSES]
        return {key: count for key in keys if (count := self._sum(self._layout.request(*key)))}

    def refusals(self) -> dict[Refusal, float]:
        """Numbers of refusals by reason."""
        return {reason: self._sum(index) for reason, index in self._layout.refusals.items()}

    def stage(self, stage: Stage) -> tuple[list[float], float]:
        """Numbers of durations in each bucket, the last one without an upper bound, and the sum in seconds."""
        start = self._layout.stages[stage]
        end = start + NUMBERS_PER_STAGE - 1
        return [self._sum(index) for index in range(start, end)], self._sum(end)

    def cut(self, cut_id: str) -> dict[CutTotal, float]:
        """The counts of a cut."""
        start = self._layout.cuts[cut_id]
        found = {total: self._sum(start + index) for total, index in self._layout.cut_totals.items()}
        last_at = start + self._layout.cut_totals[CutTotal.LAST_AT_S]
        return found | {CutTotal.LAST_AT_S: max((row[last_at] for row in self._rows), default=0.0)}

    def _sum(self, index: int) -> float:
        return sum(row[index] for row in self._rows)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True
