"""Send bodies that exceed a transport's limit through S3; the header `x-hybrid-batch-spill` has the object's URI.

Client and tail are given the same prefix and read no object outside it. A prefix of the client that ends in `/{user}`
stands for a folder below the tail's prefix, named by the AWS user id of the client: permissions can limit users to
their folders, and the header `x-hybrid-batch-spill-user` names the folder of a reply. The client deletes a request's
object when the call ends, and a reply's object after reading it. Objects of killed processes are left to the bucket's
lifecycle.
"""

import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from hybrid_batch.data.aws.caller import USER_PLACEHOLDER, caller_id, is_user_id
from hybrid_batch.data.errors import InvalidFrame, StorageFailed, TooLarge, WrongUsage
from hybrid_batch.data.storage.s3_storage import S3Storage
from hybrid_batch.inference.protocol.transport import Reply, Request

SPILL_HEADER = "x-hybrid-batch-spill"
USER_HEADER = "x-hybrid-batch-spill-user"
_REPLY = ".reply"
_NAME = re.compile(rf"[0-9a-f]{{32}}(?:{re.escape(_REPLY)})?")


class Spill:
    """The bodies below `s3://BUCKET/PREFIX`; `uri` is that prefix, without a final `{user}`. AWS is contacted on first
    use. Thread-safe.

    Raises WrongUsage for another kind of URI."""

    def __init__(self, uri: str) -> None:
        prefix = uri.rstrip("/")
        self.uri = prefix.removesuffix(f"/{USER_PLACEHOLDER}")
        self._of_user = self.uri != prefix
        if not self.uri.removeprefix("s3://").partition("/")[0] or not self.uri.startswith("s3://") or "{" in self.uri:
            raise WrongUsage(
                f"{uri!r} is not an S3 prefix for large bodies; write s3://BUCKET/PREFIX or "
                f"s3://BUCKET/PREFIX/{USER_PLACEHOLDER}."
            )
        self._user: str | None = None
        self._opened: S3Storage | None = None
        self._opening = threading.Lock()

    def check(self) -> None:
        """Write and delete an object, to check the permissions. Raises StorageFailed, AwsRefused, AwsUnreachable."""
        name = self._new_name()
        self._storage.replace(name, b"")
        self._storage.remove(name)

    @contextmanager
    def put_request(self, request: Request) -> Iterator[Request]:
        """Store the body until the block ends; yield the request without it. For the client. Raises StorageFailed."""
        name = self._new_name()
        self._storage.replace(name, request.content)
        try:
            yield replace(request, headers={**request.headers, SPILL_HEADER: self._uri(name)}, content=b"")
        finally:
            self._remove(name)

    def with_user(self, request: Request) -> Request:
        """The request with the name of the folder for an oversized reply, if this client has one. For the client.
        Raises AwsRefused, AwsUnreachable."""
        user = self._folder.rstrip("/")
        return replace(request, headers={**request.headers, USER_HEADER: user}) if user else request

    def take_reply(self, reply: Reply, limit: int) -> Reply:
        """Return the reply with its body of at most `limit` bytes, and delete the object. For the client.

        Raises InvalidFrame, StorageFailed."""
        name = self._name(reply.header(SPILL_HEADER) or "")
        if not name.startswith(self._folder):
            raise InvalidFrame(
                f"The tail stored the reply at {self._uri(name)[:200]!r}, outside of this user's folder."
            )
        content = self._read(name, limit)
        self._remove(name)
        return replace(reply, content=content)

    def read_request(self, request: Request, limit: int) -> Request:
        """Return the request with its body of at most `limit` bytes. For the tail.

        Raises InvalidFrame, StorageFailed."""
        return replace(request, content=self._read(self._name(request.header(SPILL_HEADER) or ""), limit))

    def put_reply(self, reply: Reply, request: Request) -> Reply:
        """Store the body, beside the request's if that is in S3, and return the reply without it. For the tail.

        Raises StorageFailed."""
        request_uri, user = request.header(SPILL_HEADER), request.header(USER_HEADER)
        if user and not is_user_id(user):
            raise InvalidFrame(f"{user[:60]!r} is not the AWS id of a user, the folder for an oversized reply.")
        new = f"{user}/{uuid.uuid4().hex}" if user else uuid.uuid4().hex
        name = f"{self._name(request_uri)}{_REPLY}" if request_uri else new
        self._storage.replace(name, reply.content)
        return replace(reply, headers={**reply.headers, SPILL_HEADER: self._uri(name)}, content=b"")

    @property
    def _folder(self) -> str:
        """The folder of this client below the prefix, with its slash; empty without one."""
        if not self._of_user:
            return ""
        with self._opening:
            if self._user is None:
                self._user = caller_id()
            return f"{self._user}/"

    def _new_name(self) -> str:
        return f"{self._folder}{uuid.uuid4().hex}"

    @property
    def _storage(self) -> S3Storage:
        with self._opening:
            if self._opened is None:
                self._opened = S3Storage.open(self.uri)
            return self._opened

    def _remove(self, name: str) -> None:
        with suppress(StorageFailed):  # the request has succeeded, and the bucket's lifecycle deletes the object later
            self._storage.remove(name)

    def _uri(self, name: str) -> str:
        return f"{self.uri}/{name}"

    def _name(self, uri: str) -> str:
        """The name below the prefix, with at most one folder. Accepts only names of the form made in this class."""
        name = uri.removeprefix(f"{self.uri}/")
        user, _, last = name.rpartition("/")
        if name == uri or not _NAME.fullmatch(last) or (name != last and not is_user_id(user)):
            raise InvalidFrame(
                f"The body's URI {uri[:200]!r} is not below {self.uri}; "
                "give client and tail the same prefix for large bodies."
            )
        return name

    def _read(self, name: str, limit: int) -> bytes:
        try:
            return self._storage.read(name, limit)
        except FileNotFoundError as error:
            raise InvalidFrame(f"The body at {self._uri(name)} is gone; its receiver has already read it.") from error
        except TooLarge as error:
            raise InvalidFrame(f"The body is too large: {error}") from error


def read_spilled_request(request: Request, spill: Spill | None, limit: int) -> Request:
    """Return a request whose body is in S3 with its body of at most `limit` bytes. For the tail.

    Raises InvalidFrame, also if the tail has no prefix, and StorageFailed."""
    if spill is None:
        raise InvalidFrame("This tail reads no requests from S3; start it with --spill s3://BUCKET/PREFIX.")
    return spill.read_request(request, limit)


def is_spilled(message: Request | Reply) -> bool:
    """Whether the body is in S3."""
    return message.header(SPILL_HEADER) is not None
