"""An exchange carries a request to a tail and brings the reply back: over HTTP, through Lambda, by a queue.

Requests and replies are those of the Open Inference Protocol v2 whatever carries them, as HTTP would tell them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

_MESSAGE_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Request:
    """`path` begins with /v2."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""

    def header(self, name: str) -> str | None:
        """The header, in whatever case its name is written."""
        return _find(self.headers, name)


@dataclass(frozen=True, slots=True)
class Reply:
    """`took_us` is the round trip as whoever asked saw it; 0 at the tail's side."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""
    took_us: int = 0

    def header(self, name: str) -> str | None:
        """The header, in whatever case its name is written."""
        return _find(self.headers, name)

    @property
    def message(self) -> str:
        """The tail's error message (or that of a gateway before it), or the beginning of whatever came."""
        text: object = self.content.decode(errors="replace")
        try:
            told = json.loads(self.content)
            text = told.get("error") or told.get("message") or text
        except (ValueError, AttributeError, RecursionError):
            pass
        return " ".join(str(text)[:_MESSAGE_CHARACTERS].split()) or "no message"


class NoAnswer(Exception):
    """Nothing came back, or not all of it, or only that it should be tried later; asking again may help. The message
    says why, in some words for the end of a sentence."""

    def __init__(self, cause: str, retry_after: str | None = None) -> None:
        super().__init__(cause)
        self.retry_after = retry_after


class Exchange(Protocol):
    """A way to one tail; threads may use it at once."""

    @property
    def name(self) -> str:
        """The tail's address as it may be shown and logged."""

    @property
    def advice(self) -> str:
        """What to do if nothing answers, as the end of a sentence."""

    def room(self, request: Request) -> int | None:
        """Bytes of content that a request of this method, path and headers may have on this way; None where the tail's
        own limit is the only one."""

    def ask(self, request: Request, limit: int) -> Reply:
        """The reply to a request, sent once; at most `limit` bytes of content are read. Raises NoAnswer, BadFrame for
        a reply that is none or too long, TailRefused where asking again is of no use."""
        ...

    def close(self) -> None:
        """Let go of connections and threads; calls under way may fail."""
        ...


def _find(headers: Mapping[str, str], name: str) -> str | None:
    wanted = name.lower()
    return next((value for key, value in headers.items() if key.lower() == wanted), None)
