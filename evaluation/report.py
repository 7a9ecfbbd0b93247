"""The report: everything there is to say of a run, as one dict and as one canonical JSON text.

It holds nothing but what the counts hold: no paths, no time of making. So the same records give the same
bytes on whatever engine, in whatever shards, local or in a bucket.
"""

import json
from typing import TypedDict

from evaluation import metrics
from evaluation.counts import Counts

REPORT_VERSION = 1


class Report(TypedDict):
    """What `build` gives and `to_json` writes."""

    report_version: int
    coverage: metrics.Coverage
    accuracy: float | None
    confusion: metrics.Confusion
    cuts: dict[str, metrics.Cut]
    bad_parts: list[str]


def build(counts: Counts) -> Report:
    """The report of the records counted; `bad_parts` says which parts could not be, one sentence each."""
    matrix = metrics.confusion(counts)
    return Report(
        report_version=REPORT_VERSION,
        coverage=metrics.coverage(counts),
        accuracy=metrics.accuracy(matrix),
        confusion=matrix,
        cuts=metrics.cuts(counts),
        bad_parts=sorted(str(key[1]) for key in counts if key[0] == "bad_part"),
    )


def to_json(report: Report) -> str:
    """Canonical JSON on one line: sorted keys, shortest floats that read back equal, ASCII."""
    return json.dumps(report, sort_keys=True, separators=(",", ":"), allow_nan=False)


def from_json(text: str) -> Report:
    """The report that `to_json` wrote."""
    report: Report = json.loads(text)
    return report
