"""Waiting for a submitted job until it ends or a time limit passes, and explaining its failure."""

import time
from collections.abc import Callable
from contextlib import suppress

from hybrid_batch.data.aws.poll_schedule import PollSchedule
from hybrid_batch.data.errors import AwsUnreachable, HybridBatchError, JobFailed, StorageFailed
from hybrid_batch.emr.jobs.logs import failure_line, read_logs
from hybrid_batch.emr.jobs.submitted_job import JobState, SubmittedJob

_LOG_POLLS = 8  # two minutes with the default schedule; EMR copies the logs of an ended job to S3 within that time


def wait_until_ended(job: SubmittedJob, schedule: PollSchedule, on_change: Callable[[JobState], None]) -> JobState:
    """Poll the job until it ends, call `on_change` with every new state, and return the last one.

    A poll that EMR does not answer is repeated. Raises AwsRefused, and JobFailed if the job has not ended in time; the
    job is then cancelled."""
    end = time.monotonic() + schedule.timeout_s
    last = None
    for pause in schedule.pauses():
        with suppress(AwsUnreachable):
            state = job.state()
            if state != last:
                on_change(state)
                last = state
            if state.ended:
                return state
        if time.monotonic() + pause > end:
            seen = f"last known state: {last.name}" if last else "EMR reported no state"
            raise JobFailed(f"The job did not end within {schedule.timeout_s:g} s ({seen}) {_cancel(job)}.")
        time.sleep(pause)
    raise AssertionError("the schedule has no end")


def _cancel(job: SubmittedJob) -> str:
    try:
        job.cancel()
    except HybridBatchError as error:
        return f"and cannot be cancelled: {str(error).rstrip('.')}"
    return "and was cancelled"


def describe_failure(job: SubmittedJob, state: JobState, schedule: PollSchedule) -> str:
    """Return one sentence about a failed job: its state, EMR's reason, and the most informative line of its logs."""
    sentence = f"The job ended {state.name}"
    if state.reason:
        sentence += f" ({' '.join(state.reason.split()).rstrip('.')})"
    line = _wait_for_line(job, schedule)
    return f"{sentence}: {line}" if line else f"{sentence}; its logs contain no reason, or are not in S3 yet."


def _wait_for_line(job: SubmittedJob, schedule: PollSchedule) -> str | None:
    """Poll the logs, because EMR copies them to S3 some time after the job has ended."""
    for _, pause in zip(range(_LOG_POLLS), schedule.pauses(), strict=False):
        try:
            logs = job.logs()
            if logs is None:
                return None
            texts = read_logs(logs)
        except StorageFailed as error:
            return f"the logs cannot be read: {error}"
        except HybridBatchError:
            return None
        if line := failure_line(texts.values()):
            return line
        time.sleep(pause)
    return None
