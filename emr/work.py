"""The job that a handle names."""

from data.aws_api import Api
from emr.handle import Handle
from emr.job_run import JobRun
from emr.state import Work
from emr.step import Step


def open_work(api: Api, handle: Handle) -> Work:
    """Nothing is contacted yet."""
    return JobRun(api, handle) if handle.serverless else Step(api, handle)
