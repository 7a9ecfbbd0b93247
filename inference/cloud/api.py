"""The services of AWS that a deployment is made of, by the one door."""

from data.aws_api import Api

_NAMES = {
    "cloudformation": "CloudFormation",
    "sts": "AWS",
    "s3": "S3",
    "sqs": "SQS",
    "lambda": "Lambda",
    "logs": "CloudWatch Logs",
    "autoscaling": "EC2 Auto Scaling",
}


def open_api() -> Api:
    """The door. Nothing is contacted yet. Raises AwsRefused when the AWS settings make no client."""
    return Api.open(_NAMES, "inference/cloud/policy.json")
