"""Where tests submit to, as options of the command."""

from tests.emr_double import EmrDouble

ROLE = "arn:aws:iam::123456789012:role/HybridBatchJob"
LOGS = "s3://emr/logs"


def standing(double: EmrDouble) -> list[str]:
    return ["--cluster", double.add_cluster(LOGS).id]


def new(_: EmrDouble) -> list[str]:
    return ["--create", "--instance-type", "m5.xlarge"]


def serverless(double: EmrDouble) -> list[str]:
    return ["--serverless", double.add_application(), "--role", ROLE]
