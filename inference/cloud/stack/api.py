"""The AWS services of a deployment, through one client."""

from hybrid_batch.data.aws.aws_client import AwsClient
from hybrid_batch.data.errors import AwsRefused

_NAMES = {
    "cloudformation": "CloudFormation",
    "sts": "AWS",
    "s3": "S3",
    "sqs": "SQS",
    "lambda": "Lambda",
    "logs": "CloudWatch Logs",
    "iam": "IAM",
    "autoscaling": "EC2 Auto Scaling",
}
_NOT_FOUND_CODES = ("ResourceNotFoundException", "NonExistentQueue", "QueueDoesNotExist")  # of Lambda and SQS


def open_aws() -> AwsClient:
    """A client for all services, without contacting AWS yet. Raises AwsRefused for unusable AWS settings."""
    return AwsClient.open(_NAMES, "inference/cloud/permissions/deployer.json")


def check_credentials(aws: AwsClient) -> None:
    """Send one request that needs no permission. Raises AwsRefused for missing, expired or wrong credentials,
    AwsUnreachable."""
    aws.call("sts", "get_caller_identity")


def exists(aws: AwsClient, service: str, operation: str, **names: str) -> bool:
    """Whether the resource that a request to Lambda or SQS names exists. Raises AwsRefused, AwsUnreachable."""
    try:
        aws.call(service, operation, **names)
    except AwsRefused as error:
        if is_not_found(error):
            return False
        raise
    return True


def function_exists(aws: AwsClient, name: str) -> bool:
    """Whether a Lambda function of this name exists, whatever created it. Raises AwsRefused, AwsUnreachable."""
    return exists(aws, "lambda", "get_function_configuration", FunctionName=name)


def is_not_found(error: AwsRefused) -> bool:
    """Whether Lambda or SQS refused a request because the resource does not exist."""
    return any(word in error.code for word in _NOT_FOUND_CODES)
