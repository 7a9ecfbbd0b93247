"""What the counted records are: their runs, their failures, and the distribution of their confidences."""

from datetime import UTC, datetime, timedelta
from itertools import islice

import pyarrow as pa

from hybrid_batch.evaluation.counting.counters.confidence_counter import CONFIDENCE_BINS
from hybrid_batch.evaluation.counting.counters.throughput_counter import NO_START
from hybrid_batch.evaluation.counting.counts import RUN_COLUMNS
from hybrid_batch.evaluation.counting.encoding.fixed_point import from_fixed
from hybrid_batch.evaluation.counting.failures import NO_PREDICTION
from hybrid_batch.evaluation.report_schema import Confidences, Failure, RunRow

MAX_RUNS = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def build_runs(tally: pa.Table) -> list[RunRow]:
    """The first `MAX_RUNS` rows of the tally `runs`, ordered by their names, null first."""
    rows = sorted(tally.to_pylist(), key=lambda row: [(row[name] is not None, row[name] or "") for name in RUN_COLUMNS])
    return [
        RunRow(
            run_id=row["run_id"],
            model=row["model"],
            bundle=row["bundle"],
            cut=row["cut"],
            codec=row["codec"],
            tail=row["tail"],
            records=row["records"],
            errors=row["errors"],
            labelled=row["labelled"],
            correct=row["correct"],
            first_started_at=_instant(row["first_us"]),
            last_started_at=_instant(row["last_us"]),
        )
        for row in islice(rows, MAX_RUNS)
    ]


def build_failures(tally: pa.Table) -> list[Failure]:
    """The rows of the tally `failures`, in its order; equal failures of several runs are one."""
    return [
        Failure(image=row["image"], error=None if row["error"] == NO_PREDICTION else row["error"])
        for row in tally.to_pylist()
    ]


def build_confidences(tally: pa.Table) -> Confidences:
    """The distribution of the tally `confidence`."""
    counts = [0] * CONFIDENCE_BINS
    high = low = 0
    for row in tally.to_pylist():
        counts[row["bin"]] = row["records"]
        high, low = high + row["high"], low + row["low"]
    records = sum(counts)
    edges = [place / CONFIDENCE_BINS for place in range(CONFIDENCE_BINS + 1)]
    return Confidences(
        records=records,
        mean=from_fixed(high, low) / records if records else None,
        low=edges[:-1],
        high=edges[1:],
        counts=counts,
    )


def _instant(started_us: int) -> str | None:
    if abs(started_us) == NO_START:
        return None
    return (_EPOCH + timedelta(microseconds=started_us)).isoformat()
