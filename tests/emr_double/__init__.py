"""A double of Amazon EMR and EMR Serverless that executes jobs.

It implements both APIs for an unmodified boto3, passes through every state, enforces emr/policy.json, executes the
submitted step or job run on this machine against the local S3, and writes the logs to S3 as EMR does. Tests can make it
reject, throttle and lose requests and responses, and choose the outcome of jobs.
"""

from tests.emr_double.faults import Fault, Outcome
from tests.emr_double.server import EmrDouble

__all__ = ["EmrDouble", "Fault", "Outcome"]
