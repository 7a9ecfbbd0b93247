"""Bodies too large for their way go through S3, and the header `x-hybrid-batch-spill` tells where they lie.

Both sides are given the same prefix and read nothing outside it. Who reads a reply deletes it and the request it
answers; what a killed process leaves behind is for the bucket's lifecycle to remove.
"""

import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from hybrid_batch.data.errors import BadFrame, StorageFailed, TooLarge, WrongUsage
from hybrid_batch.data.storage.s3_storage import S3Storage
from hybrid_batch.inference.protocol.transport import Reply, Request

SPILL = "x-hybrid-batch-spill"
_REPLY = ".reply"
_NAME = re.compile(rf"[0-9a-f]{{32}}(?:{re.escape(_REPLY)})?")


class Spill:
    """The prefix `s3://BUCKET/PREFIX`, contacted when first needed; threads may use it at once. Raises WrongUsage for
    what is none."""

    def __init__(self, uri: str) -> None:
        bucket = uri.removeprefix("s3://").partition("/")[0]
        if not uri.startswith("s3://") or not bucket:
            raise WrongUsage(f"{uri!r} is no place in S3 for large bodies; write s3://BUCKET/PREFIX.")
        self.uri = uri.rstrip("/")
        self._opened: S3Storage | None = None
        self._opening = threading.Lock()

    def check(self) -> None:
        """Make sure that objects can be written and deleted there. Raises StorageFailed."""
        name = uuid.uuid4().hex
        self._storage.replace(name, b"")
        self._storage.remove(name)

    @contextmanager
    def sending(self, request: Request) -> Iterator[Request]:
        """The request without its body, which lies in S3 until the end of the block. Raises StorageFailed."""
        name = uuid.uuid4().hex
        self._storage.replace(name, request.content)
        try:
            yield replace(request, headers={**request.headers, SPILL: self._uri(name)}, content=b"")
        finally:
            self._forget(name)

    def collect(self, reply: Reply, limit: int) -> Reply:
        """The reply with its body, which is then deleted. Raises BadFrame, StorageFailed."""
        name = self._name(reply.header(SPILL) or "")
        content = self._read(name, limit)
        self._forget(name)
        return replace(reply, content=content)

    def fetch(self, request: Request, limit: int) -> Request:
        """At the tail: the request with its body of at most `limit` bytes. Raises BadFrame, StorageFailed."""
        return replace(request, content=self._read(self._name(request.header(SPILL) or ""), limit))

    def stow(self, reply: Reply, request: Request) -> Reply:
        """At the tail: the reply without its body, which lies in S3 beside the request's if that does. Raises
        StorageFailed."""
        asked = request.header(SPILL)
        name = f"{self._name(asked)}{_REPLY}" if asked else uuid.uuid4().hex
        self._storage.replace(name, reply.content)
        return replace(reply, headers={**reply.headers, SPILL: self._uri(name)}, content=b"")

    @property
    def _storage(self) -> S3Storage:
        with self._opening:
            if self._opened is None:
                self._opened = S3Storage.open(self.uri)
            return self._opened

    def _forget(self, name: str) -> None:
        with suppress(StorageFailed):  # the bucket's lifecycle does it some day, and what was asked for is done
            self._storage.remove(name)

    def _uri(self, name: str) -> str:
        return f"{self.uri}/{name}"

    def _name(self, uri: str) -> str:
        """The name below the prefix; from outside only names such as we make are taken."""
        name = uri.removeprefix(f"{self.uri}/")
        if name == uri or not _NAME.fullmatch(name):
            raise BadFrame(
                f"The body is said to lie at {uri[:200]!r}, which is not below {self.uri}; "
                "give both sides the same place for large bodies."
            )
        return name

    def _read(self, name: str, limit: int) -> bytes:
        try:
            return self._storage.read(name, limit)
        except FileNotFoundError as error:
            raise BadFrame(f"The body at {self._uri(name)} is gone; whoever it was for has read it.") from error
        except TooLarge as error:
            raise BadFrame(f"The body is too large: {error}") from error


def fetch(request: Request, spill: Spill | None, limit: int) -> Request:
    """At the tail: a request whose body lies in S3 with its body of at most `limit` bytes. Raises BadFrame, also where
    there is no place to read from, and StorageFailed."""
    if spill is None:
        raise BadFrame("No requests are read from S3 here; start this tail with a place for large ones.")
    return spill.fetch(request, limit)


def spilled(message: Request | Reply) -> bool:
    """Whether the body lies in S3."""
    return message.header(SPILL) is not None
