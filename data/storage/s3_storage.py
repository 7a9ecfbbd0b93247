"""A bucket, or a prefix in one, as a storage.

Endpoint, region and credentials come from the usual AWS variables and files; nothing else is read."""

import errno
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hybrid_batch.data.aws.session import aws_session
from hybrid_batch.data.errors import StorageFailed, TooLarge, WrongUsage
from hybrid_batch.data.storage.s3_file import Range, S3File
from hybrid_batch.data.storage.storage import Entry

if TYPE_CHECKING:
    import pyarrow as pa
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

_CONNECTIONS = 32
_ATTEMPTS = 5
_TOGETHER = 1000  # objects deleted by one request
_ABSENT = ("NoSuchKey", "NotFound", "404")
_WHOLE: Mapping[str, Any] = MappingProxyType({"ChecksumMode": "ENABLED"})
_STANDS = ("PreconditionFailed", "412")
_NO_RANGE = ("InvalidRange", "416")  # of an object without a byte; to some, of one smaller than the tail asked for
_CONFLICT = ("ConditionalRequestConflict", "OperationAborted", "409")
_REFUSED = ("AccessDenied", "AllAccessDisabled", "Forbidden", "403")
_EXPIRED = ("ExpiredToken", "ExpiredTokenException")
_BAD_CREDENTIALS = (*_EXPIRED, "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch")
_OTHER_REGION = ("PermanentRedirect", "AuthorizationHeaderMalformed", "301", "400")


@dataclass(frozen=True, slots=True)
class S3Storage:
    """The objects of `bucket` whose keys begin with `prefix`, which is empty or ends in '/'."""

    client: "S3Client"
    bucket: str
    prefix: str

    @classmethod
    def open(cls, uri: str) -> "S3Storage":
        """The storage at `s3://bucket/prefix`, with a client of its own. Raises WrongUsage without a bucket,
        StorageFailed when the AWS settings make no client."""
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        if not bucket:
            raise WrongUsage(f"{uri!r} names no bucket; write s3://bucket/prefix.")
        prefix = prefix.strip("/")
        return cls(_connect(uri), bucket, f"{prefix}/" if prefix else "")

    @property
    def uri(self) -> str:
        return self._name("").rstrip("/")

    def read(self, name: str, limit: int | None = None) -> bytes:
        return self.read_described(name, limit)[0]

    def read_described(self, name: str, limit: int | None = None) -> tuple[bytes, dict[str, str]]:
        """As `read`, with the object's own metadata."""
        data, answer = self._get(name, limit)
        return data, answer["Metadata"]

    def file(self, name: str) -> "pa.NativeFile":
        import pyarrow as pa

        return pa.PythonFile(S3File(self._name(name), lambda *wanted: self._range(name, *wanted)), mode="r")

    def _range(self, name: str, start: int, end: int | None, tag: str | None) -> Range:
        """Some bytes of an object, as `S3File` asks for them."""
        wanted = f"bytes={start}" if end is None else f"bytes={start}-{end - 1}"
        try:
            data, answer = self._get(name, None, {"Range": wanted, **({"IfMatch": tag} if tag else {})})
        except StorageFailed as error:
            if start >= 0 or _code(error.__cause__) not in _NO_RANGE:
                raise
            data, answer = self._get(name, -start)
        place, _, size = answer.get("ContentRange", "").removeprefix("bytes ").partition("/")
        if not size:  # all of it came
            return Range(0, data, len(data), answer["ETag"])
        return Range(int(place.partition("-")[0]), data, int(size), answer["ETag"])

    def _get(
        self, name: str, limit: int | None, more: Mapping[str, Any] = _WHOLE
    ) -> "tuple[bytes, GetObjectOutputTypeDef]":
        from botocore.exceptions import IncompleteReadError, ReadTimeoutError, ResponseStreamingError

        with self._failures("read", name):
            for attempt in range(_ATTEMPTS):
                answer = self.client.get_object(Bucket=self.bucket, Key=self.prefix + name, **more)
                size = answer["ContentLength"]
                with closing(answer["Body"]) as body:
                    if limit is not None and size > limit:
                        raise TooLarge(f"{self._name(name)} has {size} bytes; at most {limit} are allowed.")
                    try:
                        return body.read(), answer
                    except (IncompleteReadError, ReadTimeoutError, ResponseStreamingError):
                        # boto3 retries until the answer begins; a line cut in its middle is ours to retry.
                        if attempt == _ATTEMPTS - 1:
                            raise
                _pause(attempt)
        raise AssertionError("the last attempt returns or raises")

    def replace(self, name: str, data: bytes, metadata: Mapping[str, str] | None = None) -> None:
        with self._failures("write", name):
            self.client.put_object(Bucket=self.bucket, Key=self.prefix + name, Body=data, Metadata=metadata or {})

    def write_once(self, name: str, data: bytes) -> bool:
        from botocore.exceptions import ClientError

        key = self.prefix + name
        with self._failures("write", name):
            for attempt in range(_ATTEMPTS):
                try:
                    self.client.put_object(Bucket=self.bucket, Key=key, Body=data, IfNoneMatch="*")
                except ClientError as error:
                    code = _code(error)
                    if code in _STANDS:
                        return False
                    # Another write of the same key is under way: who won is known only when it has ended.
                    if code not in _CONFLICT or attempt == _ATTEMPTS - 1:
                        raise
                else:
                    return True
                _pause(attempt)
        raise AssertionError("the last attempt returns or raises")

    def remove(self, *names: str) -> None:
        """Delete objects; those that do not exist are passed over. Raises StorageFailed."""
        for start in range(0, len(names), _TOGETHER):
            some = names[start : start + _TOGETHER]
            with self._failures("delete", some[0]):
                answer = self.client.delete_objects(
                    Bucket=self.bucket,
                    Delete={"Objects": [{"Key": self.prefix + name} for name in some], "Quiet": True},
                )
            for failed in answer.get("Errors", ()):
                name = self._name(failed.get("Key", "").removeprefix(self.prefix))
                raise StorageFailed(f"Cannot delete {name}: {failed.get('Message') or failed.get('Code')}.")

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        pages = self.client.get_paginator("list_objects_v2")
        with self._failures("list", prefix):
            for page in pages.paginate(Bucket=self.bucket, Prefix=self.prefix + prefix):
                for item in page.get("Contents", ()):
                    if not item["Key"].endswith("/"):  # the empty objects by which consoles show a folder
                        yield Entry(item["Key"].removeprefix(self.prefix), item["Size"])

    def child(self, name: str) -> "S3Storage":
        return S3Storage(self.client, self.bucket, f"{self.prefix}{name.strip('/')}/")

    def _name(self, name: str) -> str:
        return f"s3://{self.bucket}/{self.prefix}{name}"

    @contextmanager
    def _failures(self, verb: str, name: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            if _code(error) in _ABSENT:
                raise FileNotFoundError(errno.ENOENT, "No such object", self._name(name)) from error
            raise StorageFailed(f"Cannot {verb} {self._name(name)}: {self._reason(error)}.") from error
        except BotoCoreError as error:
            raise StorageFailed(f"Cannot {verb} {self._name(name)}: {_local_reason(error)}.") from error

    def _reason(self, error: Exception) -> str:
        """What S3 answered, and what to do."""
        code = _code(error)
        if code in _STANDS:
            return "another object was written in its place meanwhile; try again"
        if code == "NoSuchBucket":
            return f"there is no bucket {self.bucket!r}; create it or correct the name"
        if code in _REFUSED:
            return f"access to {self.bucket!r} is denied ({code}); ask for permission or use other credentials"
        if code in _BAD_CREDENTIALS:
            verdict = "have expired" if code in _EXPIRED else "are not accepted"
            return f"the AWS credentials {verdict} ({code}); renew or correct them"
        if code in _OTHER_REGION:
            return f"bucket {self.bucket!r} is in another region ({code}); set AWS_REGION to its own"
        return f"{_one_line(error)}; check the bucket and the AWS settings"


def _connect(uri: str) -> "S3Client":
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    try:
        # No region is asked for: S3, unlike other services, answers without one and says where the bucket is.
        return aws_session().client(
            "s3",
            config=Config(
                connect_timeout=5,
                read_timeout=60,
                max_pool_connections=_CONNECTIONS,
                retries={"mode": "standard"},
                response_checksum_validation="when_required",  # some send that of the whole with a range of it
            ),
        )
    except (BotoCoreError, ValueError) as error:
        raise StorageFailed(f"Cannot use {uri}: {_one_line(error)}; correct the AWS settings.") from error


def _local_reason(error: Exception) -> str:
    """Why no answer of S3 was had, and what to do."""
    from botocore import exceptions

    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        return "there are no AWS credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    if isinstance(error, exceptions.ParamValidationError):
        return "this is no bucket name S3 allows; correct it"
    if isinstance(error, exceptions.ConnectionError | exceptions.HTTPClientError):
        return f"S3 does not answer ({_one_line(error)}); check the network, AWS_REGION and AWS_ENDPOINT_URL"
    return f"{_one_line(error)}; check the AWS settings"


def _code(error: BaseException | None) -> str:
    answer: dict[str, dict[str, str]] = getattr(error, "response", {})
    return answer.get("Error", {}).get("Code", "")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


def _pause(attempt: int) -> None:
    time.sleep(random.uniform(0, 0.2 * 2**attempt))  # noqa: S311 - jitter, not a secret
