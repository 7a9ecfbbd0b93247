"""The user of this process in AWS, whose id separates what users of one deployment store."""

import re

from hybrid_batch.data.aws.aws_client import AwsClient
from hybrid_batch.data.errors import AwsRefused

USER_PLACEHOLDER = "{user}"
_USER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+=,.@:-]{0,159}")


def caller_id() -> str:
    """The user id of the AWS credentials, equal to the policy variable `aws:userid`: AIDA… of a user, AROA…:SESSION of
    a role. Raises AwsRefused, AwsUnreachable."""
    client = AwsClient.open({"sts": "AWS"}, "no policy")
    try:
        answer = client.call("sts", "get_caller_identity")["UserId"]
    finally:
        client.close()
    if not is_user_id(answer):
        raise AwsRefused(f"AWS gives the user id {str(answer)[:60]!r}, which cannot be the name of a folder in S3.")
    return str(answer)


def is_user_id(text: object) -> bool:
    """Whether a text has the form of a user id; it never contains a slash."""
    return isinstance(text, str) and bool(_USER_ID.fullmatch(text))
