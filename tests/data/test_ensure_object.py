"""Objects that a plan uploads unless they exist, in a local S3."""

import boto3
import pytest

from hybrid_batch.data.errors import StorageFailed
from hybrid_batch.data.storage.ensure_object import EnsureObject


def test_an_object_is_written_once_with_its_hash(bucket):
    step = EnsureObject.of(f"s3://{bucket}/packages/a.zip", b"content")
    step.apply()
    step.apply()
    s3 = boto3.client("s3")
    assert s3.get_object(Bucket=bucket, Key="packages/a.zip")["Body"].read() == b"content"
    assert s3.head_object(Bucket=bucket, Key="packages/a.zip", ChecksumMode="ENABLED")["ChecksumSHA256"]


@pytest.mark.parametrize("algorithm", ["SHA256", "CRC32"])
def test_an_object_with_another_content_is_refused(bucket, algorithm):
    """S3 computes the SHA-256 of an object only if its writer asks for it; otherwise the object is read."""
    s3 = boto3.client("s3")
    s3.put_object(Bucket=bucket, Key="packages/a.zip", Body=b"evil", ChecksumAlgorithm=algorithm)
    with pytest.raises(
        StorageFailed, match=r"a.zip has the SHA-256 b5c1.*, and the content of this machine ed70.*delete"
    ):
        EnsureObject.of(f"s3://{bucket}/packages/a.zip", b"content").apply()
    assert s3.get_object(Bucket=bucket, Key="packages/a.zip")["Body"].read() == b"evil"
