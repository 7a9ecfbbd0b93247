"""Whether a bucket lies where EMR will work."""

from hybrid_batch.data.errors import AwsRefused, StorageFailed
from hybrid_batch.data.storage.s3_storage import S3Storage


def check_region(uri: str, region: str) -> None:
    """Raises AwsRefused when the bucket of an s3:// URI is in another region than EMR: EMR writes no logs there,
    and every byte read is charged. StorageFailed when S3 does not say."""
    from botocore.exceptions import BotoCoreError, ClientError

    storage = S3Storage.open(uri)
    try:
        there = storage.client.head_bucket(Bucket=storage.bucket).get("BucketRegion")
    except (BotoCoreError, ClientError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise StorageFailed(f"S3 does not say where bucket {storage.bucket!r} is: {reason}; check its name.") from error
    if there and there != region:
        raise AwsRefused(
            f"Bucket {storage.bucket!r} is in {there} and EMR would work in {region}; set AWS_REGION={there}, or use "
            f"a run and a --workspace in {region}."
        )
