"""A double of Amazon EMR and EMR Serverless that does the work.

It speaks both APIs to an unmodified boto3, walks every state, enforces emr/policy.json, really executes the
submitted step or job run on this machine against the local S3, and writes the logs to S3 as EMR does. It can be
told to refuse, to be busy, to lose answers, and to let jobs meet every end they can meet.
"""

from tests.emr_double.faults import Fault, Outcome
from tests.emr_double.server import EmrDouble

__all__ = ["EmrDouble", "Fault", "Outcome"]
