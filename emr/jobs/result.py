"""The result of a job in S3: its report, and its earlier attempts."""

import json
import re
from dataclasses import replace
from typing import Any

from hybrid_batch.data.errors import JobFailed
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.emr.job import EvaluationJob
from hybrid_batch.evaluation.output.canonical_json import from_json
from hybrid_batch.evaluation.report_schema import Report
from hybrid_batch.jobs.input.part_list import require_complete

_ATTEMPT = re.compile(r"attempt-(\d+)/(.+)")


def read_report(uri: str) -> Report:
    """Read the report from the result folder of a job.

    Raises JobFailed if it contains none, NotARun if parts could not be counted and the job did not skip such parts, and
    StorageFailed."""
    storage = open_storage(uri)
    for name in ("report.json", "part-00000"):
        try:
            # Hadoop Streaming ends a line that has no value with a tab.
            report = from_json(storage.read(name).decode().strip())
        except FileNotFoundError:
            continue
        return report if _attempt(uri).get("skip_unreadable") else require_complete(report)
    raise JobFailed(f"{uri} contains no report; the job runs or has failed: see `hybrid-batch emr status`.")


def evaluated_run(uri: str) -> str:
    """Return the URI of the run that the job with this result folder evaluates. Raises StorageFailed."""
    return str(_attempt(uri)["run"])


def _attempt(uri: str) -> dict[str, Any]:
    """Return the `job.json` that was written at the start of the attempt with this result folder."""
    attempt: dict[str, Any] = json.loads(open_storage(uri.rpartition("/")[0]).read("job.json"))
    return attempt


def find_attempts(job: EvaluationJob) -> tuple[EvaluationJob, str | None]:
    """Return the job as its next attempt, and the result folder of an earlier successful attempt or None. Raises
    StorageFailed."""
    attempts: dict[int, set[str]] = {}
    for entry in open_storage(job.folder).list_files("attempt-"):
        if match := _ATTEMPT.fullmatch(entry.name):
            attempts.setdefault(int(match[1]), set()).add(match[2])
    for attempt, names in sorted(attempts.items()):
        if "result/report.json" in names or {"result/part-00000", "result/_SUCCESS"} <= names:
            return job, replace(job, attempt=attempt).result_uri
    return replace(job, attempt=max(attempts, default=-1) + 1), None
