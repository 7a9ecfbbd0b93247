"""The job that a handle names."""

from hybrid_batch.data.aws.aws_client import Api
from hybrid_batch.emr.jobs.job_id import Handle
from hybrid_batch.emr.jobs.job_run import JobRun
from hybrid_batch.emr.jobs.state import Work
from hybrid_batch.emr.jobs.step import Step


def open_work(api: Api, handle: Handle) -> Work:
    """Nothing is contacted yet."""
    return JobRun(api, handle) if handle.serverless else Step(api, handle)
