"""Waiting for a job: polling that slows down, a limit, and an end that leaves nothing running by mistake."""

import time
from collections.abc import Callable
from contextlib import suppress

from hybrid_batch.data.aws.poll_schedule import Patience
from hybrid_batch.data.errors import AwsUnreachable, HybridBatchError, JobFailed, StorageFailed
from hybrid_batch.emr.jobs.logs import read_logs, telling_line
from hybrid_batch.emr.jobs.state import State, Work

_LOG_LOOKS = 8  # with the default pace: two minutes, in which EMR has brought the logs of an ended job to S3


def await_end(work: Work, patience: Patience, tell: Callable[[State], None]) -> State:
    """How the job ended; `tell` hears each change. Raises JobFailed when it has not ended in time, having
    cancelled it, and AwsRefused.

    A question that EMR does not answer is asked again until the time is over."""
    end = time.monotonic() + patience.timeout_s
    last = None
    for pause in patience.pauses():
        with suppress(AwsUnreachable):
            state = work.state()
            if state != last:
                tell(state)
                last = state
            if state.ended:
                return state
        if time.monotonic() + pause > end:
            seen = f"its last known state is {last.word}" if last else "EMR has not said how it stands"
            raise JobFailed(f"The job had not ended after {patience.timeout_s:g} s ({seen}), {_cancel(work)}.")
        time.sleep(pause)
    raise AssertionError("the pauses have no end")


def _cancel(work: Work) -> str:
    try:
        work.cancel()
    except HybridBatchError as error:
        return f"and cannot be cancelled: {str(error).rstrip('.')}"
    return "and was cancelled"


def why_failed(work: Work, state: State, patience: Patience) -> str:
    """One sentence on a job that ended badly: its state, EMR's reason, and the line of the logs that says most."""
    said = f"The job ended {state.word}"
    if state.reason:
        said += f" ({' '.join(state.reason.split()).rstrip('.')})"
    line = _await_line(work, patience)
    return f"{said}: {line}" if line else f"{said}; its logs do not say why, or are not in S3 yet."


def _await_line(work: Work, patience: Patience) -> str | None:
    """EMR brings the logs to S3 a while after the job has ended, so they are looked for more than once."""
    for _, pause in zip(range(_LOG_LOOKS), patience.pauses(), strict=False):
        try:
            logs = work.logs()
            if logs is None:
                return None
            texts = read_logs(logs)
        except StorageFailed as error:
            return f"the logs cannot be read: {error}"
        except HybridBatchError:
            return None
        if line := telling_line(texts.values()):
            return line
        time.sleep(pause)
    return None
