"""The AWS clients for EMR and EMR Serverless, and the check that a bucket is in their region."""

from hybrid_batch.data.aws.aws_client import AwsClient
from hybrid_batch.data.errors import AwsRefused, StorageFailed, one_line
from hybrid_batch.data.storage.s3_storage import S3Storage

_NAMES = {"emr": "EMR", "emr-serverless": "EMR"}


def open_api(timeout_s: float = 30) -> AwsClient:
    """Create the clients without contacting AWS; a response may take `timeout_s` seconds. Raises AwsRefused for invalid
    AWS settings."""
    return AwsClient.open(_NAMES, "emr/policy.json", timeout_s)


def check_region(uri: str, region: str) -> None:
    """Check that the bucket of an s3:// URI is in the region of EMR; otherwise EMR writes no logs, and every byte read
    is charged. Raises AwsRefused if it is not, StorageFailed if S3 does not report its region."""
    from botocore.exceptions import BotoCoreError, ClientError

    storage = S3Storage.open(uri)
    try:
        found = storage.client.head_bucket(Bucket=storage.bucket).get("BucketRegion")
    except (BotoCoreError, ClientError) as error:
        raise StorageFailed(
            f"Cannot determine the region of bucket {storage.bucket!r}: {one_line(error)}; check its name."
        ) from error
    if found and found != region:
        raise AwsRefused(
            f"Bucket {storage.bucket!r} is in {found} but EMR runs in {region}; set AWS_REGION={found}, or use a run "
            f"and a --workspace in {region}."
        )
