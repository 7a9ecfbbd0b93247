"""Reports and comparisons as canonical JSON: one line, sorted keys, ASCII, the shortest floats that read back equal."""

import json
from collections.abc import Mapping

from hybrid_batch.evaluation.report_schema import Report


def to_json(document: Mapping[str, object]) -> str:
    """A report or a comparison as text; equal documents give equal text. Raises ValueError for NaN and infinity."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)


def from_json(text: str) -> Report:
    """The report of a text written by `to_json`."""
    report: Report = json.loads(text)
    return report
