"""The bucket of a deployment: whether it stands, what is in it, and how it is emptied."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hybrid_batch.data.aws.aws_client import Api
from hybrid_batch.data.errors import AwsRefused, StackFailed
from hybrid_batch.data.storage.s3_storage import S3Storage
from hybrid_batch.data.storage.storage import Entry
from hybrid_batch.inference.cloud.stack import OWN, Stack, resources

PACKAGES = "packages/"
_ABSENT = {"404", "NoSuchBucket"}
_NO_TAGS = "NoSuchTagSet"


@dataclass(frozen=True, slots=True)
class Bucket:
    """The bucket `name`, which belongs to the deployment `owner`."""

    api: Api
    name: str
    owner: str

    @classmethod
    def of(cls, api: Api, owner: str) -> "Bucket":
        """The bucket that the deployment of this name has, or would have, in this account and region, as tail.yaml
        names it. Raises AwsRefused, AwsUnreachable."""
        account = api.ask("sts", "get_caller_identity")["Account"]
        return cls(api, f"{owner}-{account}-{api.region}", owner)

    def stands(self) -> bool:
        """Whether there is a bucket of this name. Raises AwsRefused for one of another account."""
        try:
            self.api.ask("s3", "head_bucket", Bucket=self.name)
        except AwsRefused as error:
            if error.code in _ABSENT:
                return False
            raise
        return True

    def is_ours(self, stack: Stack | None) -> bool:
        """Whether the bucket that stands is a resource of this stack, or has the mark of one that is gone."""
        if stack and self.name in resources(self.api, stack):
            return True
        try:
            tags = self.api.ask("s3", "get_bucket_tagging", Bucket=self.name)["TagSet"]
        except AwsRefused as error:
            if error.code == _NO_TAGS:
                return False
            raise
        return {"Key": OWN, "Value": self.owner} in tags

    def objects(self) -> Iterator[Entry]:
        """Every object, with its size in bytes. Raises StorageFailed."""
        return S3Storage.open(f"s3://{self.name}").entries()

    def keep_package(self, key: str) -> None:
        """Delete the packages of earlier deployments. Raises StorageFailed, AwsRefused."""
        for other in self.objects():
            if other.name.startswith(PACKAGES) and other.name != key:
                self.api.ask("s3", "delete_object", Bucket=self.name, Key=other.name)

    def empty(self) -> None:
        """Delete every object with all its versions. Raises StackFailed when S3 keeps one."""
        while True:
            page = self.api.ask("s3", "list_object_versions", Bucket=self.name)
            found = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
            if not found:
                return
            names: list[dict[str, Any]] = [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in found]
            answer = self.api.ask("s3", "delete_objects", Bucket=self.name, Delete={"Objects": names, "Quiet": True})
            for kept in answer.get("Errors", ()):
                raise StackFailed(
                    f"S3 does not delete s3://{self.name}/{kept['Key']} ({kept['Code']}: {kept.get('Message', '')}); "
                    "delete it yourself and ask again."
                )

    def delete(self) -> None:
        """Delete the empty bucket."""
        self.api.ask("s3", "delete_bucket", Bucket=self.name)
