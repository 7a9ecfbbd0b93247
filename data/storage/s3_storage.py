"""The storage of an S3 bucket or prefix.

Endpoint, region and credentials come from the standard AWS variables and files only."""

import errno
import hashlib
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from hybrid_batch.data.aws.session import aws_session
from hybrid_batch.data.aws.temporary_errors import is_temporary
from hybrid_batch.data.backoff import AWS_ATTEMPTS, AWS_BACKOFF
from hybrid_batch.data.errors import StorageFailed, TooLarge, WrongUsage, one_line
from hybrid_batch.data.storage.s3_file import ByteRange, S3File
from hybrid_batch.data.storage.storage import Entry, Unlisted

if TYPE_CHECKING:
    import pyarrow as pa
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import (
        DeleteObjectsOutputTypeDef,
        GetObjectOutputTypeDef,
        ListObjectsV2OutputTypeDef,
        ObjectIdentifierTypeDef,
    )

T = TypeVar("T")
_CONNECTIONS = 32
_MAX_DELETES = 1000  # objects deleted by one request
_ABSENT = ("NoSuchKey", "NotFound", "404")
_WHOLE: Mapping[str, Any] = MappingProxyType({"ChecksumMode": "ENABLED"})
_EXISTS = ("PreconditionFailed", "412")
_NO_RANGE = ("InvalidRange", "416")  # the object is empty or, in some S3 implementations, smaller than the range
_CONFLICT = ("ConditionalRequestConflict", "OperationAborted", "409")
_REFUSED = ("AccessDenied", "AllAccessDisabled", "Forbidden", "403")
_EXPIRED = ("ExpiredToken", "ExpiredTokenException")
_BAD_CREDENTIALS = (*_EXPIRED, "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch")
_OTHER_REGION = ("PermanentRedirect", "AuthorizationHeaderMalformed", "301", "400")


@dataclass(frozen=True, slots=True)
class S3Storage:
    """The objects of `bucket` whose keys start with `prefix`, which is empty or ends in '/'."""

    client: "S3Client"
    bucket: str
    prefix: str

    @classmethod
    def open(cls, uri: str) -> "S3Storage":
        """Return the storage of `s3://bucket/prefix`, with its own client. Raises WrongUsage without a bucket, and
        StorageFailed for invalid AWS settings."""
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        if not bucket:
            raise WrongUsage(f"{uri!r} has no bucket; write s3://bucket/prefix.")
        prefix = prefix.strip("/")
        return cls(_connect(uri), bucket, f"{prefix}/" if prefix else "")

    @property
    def uri(self) -> str:
        return self._name("").rstrip("/")

    def read(self, name: str, limit: int | None = None) -> bytes:
        return self.read_with_metadata(name, limit)[0]

    def read_with_metadata(self, name: str, limit: int | None = None) -> tuple[bytes, dict[str, str]]:
        """Read as `read` does, and return the object's user metadata too."""
        data, answer = self._get(name, limit)
        return data, answer["Metadata"]

    def open_input_file(self, name: str) -> "pa.NativeFile":
        import pyarrow as pa

        return pa.PythonFile(S3File(self._name(name), lambda *wanted: self._range(name, *wanted)), mode="r")

    def _range(self, name: str, start: int, end: int | None, tag: str | None) -> ByteRange:
        """Return a byte range of an object, as defined by `S3File`."""
        wanted = f"bytes={start}" if end is None else f"bytes={start}-{end - 1}"
        try:
            data, answer = self._get(name, None, {"Range": wanted, **({"IfMatch": tag} if tag else {})})
        except StorageFailed as error:
            if start >= 0 or _code(error.__cause__) not in _NO_RANGE:
                raise
            data, answer = self._get(name, -start)
        place, _, size = answer.get("ContentRange", "").removeprefix("bytes ").partition("/")
        if not size:  # the response is the whole object
            return ByteRange(0, data, len(data), answer["ETag"])
        return ByteRange(int(place.partition("-")[0]), data, int(size), answer["ETag"])

    def _get(
        self, name: str, limit: int | None, more: Mapping[str, Any] = _WHOLE
    ) -> "tuple[bytes, GetObjectOutputTypeDef]":
        from botocore.exceptions import ClientError, IncompleteReadError, ReadTimeoutError, ResponseStreamingError
        from urllib3.exceptions import ProtocolError

        with self._failures("read", name):
            for is_last in AWS_BACKOFF.attempts(AWS_ATTEMPTS):
                try:
                    answer = self.client.get_object(Bucket=self.bucket, Key=self.prefix + name, **more)
                    size = answer["ContentLength"]
                    with closing(answer["Body"]) as body:
                        if limit is not None and size > limit:
                            raise TooLarge(f"{self._name(name)} has {size} bytes; at most {limit} are allowed.")
                        return body.read(), answer
                except (IncompleteReadError, ReadTimeoutError, ResponseStreamingError, ProtocolError):
                    # boto3 retries until the response begins; a connection lost in its body is retried here. The body
                    # of an error is read by boto3, which lets the exception of urllib3 pass.
                    if is_last:
                        raise
                except ClientError as error:
                    if is_last or not is_temporary(error):
                        raise
        raise AssertionError("the last attempt returns or raises")

    def replace(self, name: str, data: bytes, metadata: Mapping[str, str] | None = None) -> None:
        with self._failures("write", name):
            _retried(
                lambda: self.client.put_object(
                    Bucket=self.bucket, Key=self.prefix + name, Body=data, Metadata=metadata or {}
                )
            )

    def write_once(self, name: str, data: bytes, *, hashed: bool = False) -> bool:
        """Write as `Storage.write_once` does; S3 keeps the SHA-256 of a `hashed` object."""
        from botocore.exceptions import ClientError

        key = self.prefix + name
        more: dict[str, Any] = {"ChecksumAlgorithm": "SHA256"} if hashed else {}
        with self._failures("write", name):
            for is_last in AWS_BACKOFF.attempts(AWS_ATTEMPTS):
                try:
                    self.client.put_object(Bucket=self.bucket, Key=key, Body=data, IfNoneMatch="*", **more)
                except ClientError as error:
                    code = _code(error)
                    if code in _EXISTS:
                        return False
                    # A concurrent write of the same key is in progress; its result decides.
                    if is_last or not (code in _CONFLICT or is_temporary(error)):
                        raise
                else:
                    return True
        raise AssertionError("the last attempt returns or raises")

    def sha256(self, name: str) -> str:
        """The SHA-256 of an object in hexadecimal digits, from S3 if S3 has computed it. Raises StorageFailed."""
        with self._failures("read", name):
            answer = self.client.head_object(Bucket=self.bucket, Key=self.prefix + name, ChecksumMode="ENABLED")
        stored = answer.get("ChecksumSHA256", "")
        if stored and "-" not in stored:  # not a hash of the hashes of parts
            return b64decode(stored).hex()
        return hashlib.sha256(self.read(name)).hexdigest()

    def remove(self, *names: str) -> None:
        """Delete objects; missing ones are ignored. Raises StorageFailed."""
        for start in range(0, len(names), _MAX_DELETES):
            some = names[start : start + _MAX_DELETES]
            with self._failures("delete", some[0]):
                objects: list[ObjectIdentifierTypeDef] = [{"Key": self.prefix + name} for name in some]
                answer = _retried(partial(self._delete, objects))
            for failed in answer.get("Errors", ()):
                name = self._name(failed.get("Key", "").removeprefix(self.prefix))
                raise StorageFailed(f"Cannot delete {name}: {failed.get('Message') or failed.get('Code')}.")

    def list_files(self, prefix: str = "", unlisted: Unlisted | None = None) -> Iterator[Entry]:
        place: dict[str, Any] = {}
        with self._failures("list", prefix):
            while True:
                page = _retried(partial(self._list, prefix, place))
                for item in page.get("Contents", ()):
                    if not item["Key"].endswith("/"):  # empty objects that represent folders in consoles
                        yield Entry(item["Key"].removeprefix(self.prefix), item["Size"])
                if not page.get("IsTruncated"):
                    return
                place = {"ContinuationToken": page["NextContinuationToken"]}

    def _list(self, prefix: str, place: Mapping[str, Any]) -> "ListObjectsV2OutputTypeDef":
        return self.client.list_objects_v2(Bucket=self.bucket, Prefix=self.prefix + prefix, **place)

    def _delete(self, objects: "list[ObjectIdentifierTypeDef]") -> "DeleteObjectsOutputTypeDef":
        return self.client.delete_objects(Bucket=self.bucket, Delete={"Objects": objects, "Quiet": True})

    def child(self, name: str) -> "S3Storage":
        return S3Storage(self.client, self.bucket, f"{self.prefix}{name.strip('/')}/")

    def _name(self, name: str) -> str:
        return f"s3://{self.bucket}/{self.prefix}{name}"

    @contextmanager
    def _failures(self, verb: str, name: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError
        from urllib3.exceptions import HTTPError

        try:
            yield
        except ClientError as error:
            if _code(error) in _ABSENT:
                raise FileNotFoundError(errno.ENOENT, "No such object", self._name(name)) from error
            raise StorageFailed(f"Cannot {verb} {self._name(name)}: {self._reason(error)}.") from error
        except (BotoCoreError, HTTPError) as error:
            raise StorageFailed(f"Cannot {verb} {self._name(name)}: {_local_reason(error)}.") from error

    def _reason(self, error: Exception) -> str:
        """What S3 answered, and what to do."""
        code = _code(error)
        if code in _EXISTS:
            return "the object was replaced while it was read; try again"
        if code == "NoSuchBucket":
            return f"bucket {self.bucket!r} does not exist; create it or correct the name"
        if code in _REFUSED:
            return f"access to {self.bucket!r} is denied ({code}); request permission or use other credentials"
        if code in _BAD_CREDENTIALS:
            verdict = "have expired" if code in _EXPIRED else "are not accepted"
            return f"the AWS credentials {verdict} ({code}); renew or correct them"
        if code in _OTHER_REGION:
            return f"bucket {self.bucket!r} is in another region ({code}); set AWS_REGION to the bucket's region"
        return f"{one_line(error)}; check the bucket and the AWS settings"


def _retried(request: Callable[[], T]) -> T:
    """The response to a request that is safe to repeat. boto3 retries some failures of S3 for a second or two, and not
    429; this retries all of them, with pauses that grow."""
    from botocore.exceptions import ClientError

    for is_last in AWS_BACKOFF.attempts(AWS_ATTEMPTS):
        try:
            return request()
        except ClientError as error:
            if is_last or not is_temporary(error):
                raise
    raise AssertionError("the last attempt returns or raises")


def _connect(uri: str) -> "S3Client":
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    try:
        # No region is required: S3, unlike other services, responds without one and reports the bucket's region.
        return aws_session().client(
            "s3",
            config=Config(
                connect_timeout=5,
                read_timeout=60,
                max_pool_connections=_CONNECTIONS,
                retries={"mode": "standard"},
                response_checksum_validation="when_required",  # some S3s send the whole object's with a range
            ),
        )
    except (BotoCoreError, ValueError) as error:
        raise StorageFailed(f"Cannot use {uri}: {one_line(error)}; correct the AWS settings.") from error


def _local_reason(error: Exception) -> str:
    """Return the reason why S3 gave no response, and the remedy."""
    from botocore import exceptions

    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        return "AWS credentials are missing; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    if isinstance(error, exceptions.ParamValidationError):
        return "S3 does not allow this bucket name; correct it"
    if isinstance(error, exceptions.ConnectionError | exceptions.HTTPClientError):
        return f"S3 does not respond ({one_line(error)}); check the network, AWS_REGION and AWS_ENDPOINT_URL"
    return f"{one_line(error)}; check the AWS settings"


def _code(error: BaseException | None) -> str:
    answer: dict[str, dict[str, str]] = getattr(error, "response", {})
    return answer.get("Error", {}).get("Code", "")
