"""The permissions boundary: the policy of the account that limits every role of a deployment."""

from hybrid_batch.data.aws.aws_client import AwsClient
from hybrid_batch.data.errors import AwsRefused, WrongUsage

DEFAULT_BOUNDARY = "HybridBatchBoundary"
NO_BOUNDARY = "none"
NAME_PREFIX = "hybrid-batch-"  # of the resources that deployer.json and boundary.json name
_DOCUMENT = "inference/cloud/permissions/boundary.json"
_ABSENT = "NoSuchEntity"


def find_boundary(aws: AwsClient, requested: str, deployment: str) -> str:
    """The ARN of the boundary `requested`, a name, an ARN or "none"; empty for "none". Raises WrongUsage if the policy
    does not exist or the default one does not cover the deployment's name, AwsRefused, AwsUnreachable."""
    if requested == NO_BOUNDARY:
        return ""
    if requested == DEFAULT_BOUNDARY and not deployment.startswith(NAME_PREFIX):
        raise WrongUsage(
            f"{DEFAULT_BOUNDARY} permits nothing to a deployment named {deployment!r}; begin --name with "
            f"{NAME_PREFIX!r}, or choose another --permissions-boundary."
        )
    arn = requested if requested.startswith("arn:") else _policy_arn(aws, requested)
    try:
        aws.call("iam", "get_policy", PolicyArn=arn)
    except AwsRefused as error:
        if error.code != _ABSENT:
            raise
        raise WrongUsage(
            f"The permissions boundary {arn} does not exist; an administrator creates it from {_DOCUMENT} once per "
            f"account, or deploys with --permissions-boundary {NO_BOUNDARY}."
        ) from error
    return arn


def _policy_arn(aws: AwsClient, name: str) -> str:
    caller = aws.call("sts", "get_caller_identity")
    return f"arn:{caller['Arn'].split(':')[1]}:iam::{caller['Account']}:policy/{name}"
