"""Transports send a request to a tail and return its reply: over HTTP, through Lambda, through queues.

Requests and replies are those of the Open Inference Protocol v2 over HTTP, in every transport.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

_MESSAGE_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request. `path` begins with /v2."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""

    def header(self, name: str) -> str | None:
        """Return the value of a header; case does not matter."""
        return _find(self.headers, name)


class _ErrorBody(msgspec.Struct):
    """The content of an error, of a tail or of a gateway."""

    error: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP response. `round_trip_us` is measured by the client; it is 0 at the tail."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""
    round_trip_us: int = 0

    def header(self, name: str) -> str | None:
        """Return the value of a header; case does not matter."""
        return _find(self.headers, name)

    @property
    def message(self) -> str:
        """The error message of the tail or of a gateway, or else the beginning of the content."""
        text = self.content[: 4 * _MESSAGE_CHARACTERS].decode(errors="replace")
        try:
            body = msgspec.json.decode(self.content, type=_ErrorBody)
            text = body.error or body.message or text
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            pass
        return " ".join(text[:_MESSAGE_CHARACTERS].split()) or "no message"


class NoResponse(Exception):
    """No complete reply came back, or only a request to try later; a retry may succeed.

    The message is the cause, as the end of a sentence. `retry_after` is the header of that name."""

    def __init__(self, cause: str, retry_after: str | None = None) -> None:
        super().__init__(cause)
        self.retry_after = retry_after


class Transport(Protocol):
    """A connection to one tail. Thread-safe."""

    @property
    def name(self) -> str:
        """The tail's address without secrets, for messages and logs."""

    @property
    def hint(self) -> str:
        """The advice for a tail that does not answer, as the end of a sentence."""

    def max_content_bytes(self, request: Request) -> int | None:
        """Return the most bytes of content that a request with this method, path and headers may have.

        None if the transport has no limit of its own."""

    def send(self, request: Request, limit: int) -> Reply:
        """Send a request once and return its reply, reading at most `limit` bytes of content.

        Raises NoResponse, InvalidFrame for a reply that is malformed or too long, TailRefused if a retry is useless.
        """
        ...

    def close(self) -> None:
        """Close connections and threads. Calls in progress may fail."""
        ...


def _find(headers: Mapping[str, str], name: str) -> str | None:
    lower = name.lower()
    return next((value for key, value in headers.items() if key.lower() == lower), None)
