"""One user's connection to a server: HTTP/1.1, kept open, as little work as can be, every byte counted.

The users' own work shares the machine with the server, so it must be small: this takes a tenth of what a full client
takes. It speaks to servers of ours only, which tell the length of every reply.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

_HEAD_BYTES = 1 << 14
_REPLY_BYTES = 1 << 20
_SAID_BYTES = 200


class Broken(Exception):
    """The connection is of no more use; the message says why."""


@dataclass(frozen=True, slots=True)
class Reply:
    """`sent` and `received` are all bytes of the exchange, headers included; `said` is the beginning of the body."""

    status: int
    said: str
    retry_after_s: float
    sent: int
    received: int


class Connection:
    """Asks one thing after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, host: str, port: int, timeout_s: float) -> Self:
        """A new connection. Raises Broken."""
        try:
            async with asyncio.timeout(timeout_s):
                return cls(*await asyncio.open_connection(host, port, limit=_HEAD_BYTES))
        except OSError as error:
            raise Broken(f"no connection: {str(error) or type(error).__name__}") from error

    async def ask(self, request: bytes, timeout_s: float) -> Reply:
        """The reply to a whole request, head and body. Raises Broken."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._ask(request)
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            raise Broken(str(error) or type(error).__name__) from error

    def close(self) -> None:
        """Let go."""
        self._writer.close()

    async def _ask(self, request: bytes) -> Reply:
        self._writer.write(request)
        await self._writer.drain()
        head = await self._reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers["content-length"]) if "content-length" in headers else -1
        if not 0 <= length <= _REPLY_BYTES:
            raise ValueError(f"a reply of {length} bytes")
        body = await self._reader.readexactly(length)
        retry_after = headers.get("retry-after", "")
        pause_s = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0.0
        status, said = int(first.split(" ", 2)[1]), body[:_SAID_BYTES].decode(errors="replace")
        return Reply(status, said, pause_s, len(request), len(head) + length)


def request_bytes(host: str, port: int, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """A POST request as it stands on the wire."""
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}:{port}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
