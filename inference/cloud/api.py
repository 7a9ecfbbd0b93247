"""The services of AWS that a deployment is made of, by the one door."""

from hybrid_batch.data.aws.aws_client import Api
from hybrid_batch.data.errors import AwsRefused

_NAMES = {
    "cloudformation": "CloudFormation",
    "sts": "AWS",
    "s3": "S3",
    "sqs": "SQS",
    "lambda": "Lambda",
    "logs": "CloudWatch Logs",
    "autoscaling": "EC2 Auto Scaling",
}
_ABSENT = ("ResourceNotFoundException", "NonExistentQueue", "QueueDoesNotExist")  # of Lambda and SQS


def open_api() -> Api:
    """The door. Nothing is contacted yet. Raises AwsRefused when the AWS settings make no client."""
    return Api.open(_NAMES, "inference/cloud/policy.json")


def exists(api: Api, service: str, operation: str, **names: str) -> bool:
    """Whether there is what a request of Lambda or SQS names. Raises AwsRefused, AwsUnreachable."""
    try:
        api.ask(service, operation, **names)
    except AwsRefused as error:
        if is_absent(error):
            return False
        raise
    return True


def function_exists(api: Api, name: str) -> bool:
    """Whether there is a function of this name, anybody's. Raises AwsRefused, AwsUnreachable."""
    return exists(api, "lambda", "get_function_configuration", FunctionName=name)


def is_absent(error: AwsRefused) -> bool:
    """Whether Lambda or SQS says that there is no such thing."""
    return any(word in error.code for word in _ABSENT)
