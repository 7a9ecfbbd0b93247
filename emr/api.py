"""EMR and EMR Serverless, by the one door to AWS."""

from hybrid_batch.data.aws.aws_client import Api

_NAMES = {"emr": "EMR", "emr-serverless": "EMR"}


def open_api(timeout_s: float = 30) -> Api:
    """The door, with `timeout_s` for an answer. Nothing is contacted yet. Raises AwsRefused when the AWS settings
    make no client."""
    return Api.open(_NAMES, "emr/policy.json", timeout_s)
