"""What a job left in S3: the report, and which attempts there were."""

import json
import re
from dataclasses import replace
from typing import Any

from hybrid_batch.data.errors import JobFailed
from hybrid_batch.data.storage.storage import open_storage
from hybrid_batch.emr.job import Job
from hybrid_batch.evaluation.report import from_json
from hybrid_batch.evaluation.report_schema import Report
from hybrid_batch.jobs.input.part_list import whole

_ATTEMPT = re.compile(r"attempt-(\d+)/(.+)")


def read_report(uri: str) -> Report:
    """The report at a job's result. Raises JobFailed when it has left none, NotARun when parts could not be counted
    that were not to be skipped, StorageFailed."""
    storage = open_storage(uri)
    for name in ("report.json", "part-00000"):
        try:
            # Hadoop Streaming ends a line that has no value with a tab.
            report = from_json(storage.read(name).decode().strip())
        except FileNotFoundError:
            continue
        return report if _begun(uri).get("skip_bad") else whole(report)
    raise JobFailed(f"There is no report in {uri}; the job has not ended, or failed: see `hybrid-batch emr status`.")


def run_of(uri: str) -> str:
    """The run that a job with this result evaluates. Raises StorageFailed."""
    return str(_begun(uri)["run"])


def _begun(uri: str) -> dict[str, Any]:
    """What was written when the attempt with this result was begun."""
    found: dict[str, Any] = json.loads(open_storage(uri.rpartition("/")[0]).read("job.json"))
    return found


def look_back(job: Job) -> tuple[Job, str | None]:
    """The job as its next attempt, and the result of an earlier attempt that succeeded. Raises StorageFailed."""
    attempts: dict[int, set[str]] = {}
    for entry in open_storage(job.folder).entries("attempt-"):
        if match := _ATTEMPT.fullmatch(entry.name):
            attempts.setdefault(int(match[1]), set()).add(match[2])
    for attempt, names in sorted(attempts.items()):
        if "result/report.json" in names or {"result/part-00000", "result/_SUCCESS"} <= names:
            return job, replace(job, attempt=attempt).result
    return replace(job, attempt=max(attempts, default=-1) + 1), None
