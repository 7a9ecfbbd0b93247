"""The bucket of a deployment: check, list and empty it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hybrid_batch.data.aws.aws_client import AwsClient
from hybrid_batch.data.errors import AwsRefused, DeploymentFailed
from hybrid_batch.data.storage.s3_storage import S3Storage
from hybrid_batch.data.storage.storage import Entry
from hybrid_batch.inference.cloud.stack.stack import OWNER_TAG, Stack, resources

PACKAGES = "packages/"
_ABSENT = {"404", "NoSuchBucket"}
_NO_TAGS = "NoSuchTagSet"


@dataclass(frozen=True, slots=True)
class Bucket:
    """The bucket `name` of the deployment `owner`."""

    aws: AwsClient
    name: str
    owner: str

    @classmethod
    def of_deployment(cls, aws: AwsClient, owner: str) -> "Bucket":
        """The bucket of the deployment of this name in this account and region, whether it exists or not; tail.yaml
        names it alike. Raises AwsRefused, AwsUnreachable."""
        account = aws.call("sts", "get_caller_identity")["Account"]
        return cls(aws, f"{owner}-{account}-{aws.region}", owner)

    def exists(self) -> bool:
        """Whether the bucket exists. Raises AwsRefused for a bucket of another account."""
        try:
            self.aws.call("s3", "head_bucket", Bucket=self.name)
        except AwsRefused as error:
            if error.code in _ABSENT:
                return False
            raise
        return True

    def is_ours(self, stack: Stack | None) -> bool:
        """Whether the existing bucket is a resource of this stack, or tagged as that of a deleted deployment."""
        if stack and self.name in resources(self.aws, stack):
            return True
        try:
            tags = self.aws.call("s3", "get_bucket_tagging", Bucket=self.name)["TagSet"]
        except AwsRefused as error:
            if error.code == _NO_TAGS:
                return False
            raise
        return {"Key": OWNER_TAG, "Value": self.owner} in tags

    def stop_access_logs(self) -> None:
        """End the delivery of access logs, which would fill their bucket while it is emptied."""
        self.aws.call("s3", "put_bucket_logging", Bucket=self.name, BucketLoggingStatus={})

    def objects(self) -> Iterator[Entry]:
        """Every object, with its size in bytes. Raises StorageFailed."""
        return S3Storage.open(f"s3://{self.name}").list_files()

    def delete_old_packages(self, key: str) -> None:
        """Delete the packages of earlier deployments. Raises StorageFailed, AwsRefused."""
        for other in self.objects():
            if other.name.startswith(PACKAGES) and other.name != key:
                self.aws.call("s3", "delete_object", Bucket=self.name, Key=other.name)

    def empty(self) -> None:
        """Delete all versions of all objects. Raises DeploymentFailed if S3 does not delete one."""
        while True:
            page = self.aws.call("s3", "list_object_versions", Bucket=self.name)
            found = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
            if not found:
                return
            names: list[dict[str, Any]] = [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in found]
            answer = self.aws.call("s3", "delete_objects", Bucket=self.name, Delete={"Objects": names, "Quiet": True})
            for kept in answer.get("Errors", ()):
                raise DeploymentFailed(
                    f"S3 cannot delete s3://{self.name}/{kept['Key']} ({kept['Code']}: {kept.get('Message', '')}); "
                    "delete it and repeat the command."
                )

    def delete(self) -> None:
        """Delete the empty bucket."""
        self.aws.call("s3", "delete_bucket", Bucket=self.name)
