"""The targets of submissions, as options of the command."""

from tests.emr_double import EmrDouble

ROLE = "arn:aws:iam::123456789012:role/HybridBatchJob"
LOGS = "s3://emr/logs"


def existing(double: EmrDouble) -> list[str]:
    return ["--cluster", double.add_cluster(LOGS).id]


def new(_: EmrDouble) -> list[str]:
    return ["--create-cluster", "--instance-type", "m5.xlarge"]


def serverless(double: EmrDouble) -> list[str]:
    return ["--serverless", double.add_application(), "--role", ROLE]
