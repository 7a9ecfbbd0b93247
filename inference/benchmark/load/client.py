"""Concurrent users of one server, in a process of their own: `python -m hybrid_batch.inference.benchmark.load.client`.

Each line of standard input is a load phase as JSON; each line of standard output is its result as JSON. A user has one
connection and one request in flight. After a 429 or 503 the user waits as Retry-After demands and repeats the request,
for at most one minute.

The HTTP/1.1 client is minimal because users share the machine with the server: it takes a tenth of the processor time
of a full client. It understands only replies with a Content-Length, which all our servers send.
"""

import asyncio
import json
import os
import random
import resource
import sys
import time
from base64 import b64decode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from typing import Any, Self

from hybrid_batch.data.terminal.escapes import write_line

TIMEOUT_S = 60.0
_MIN_PAUSE_S = 0.1
_RETRIED = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_MAX_CONNECTIONS = 4096
_MAX_CAUSES = 10  # distinct causes of errors that are counted one by one
_MAX_HEADER_BYTES = 1 << 14
_MAX_REPLY_BYTES = 1 << 20
_EXCERPT_BYTES = 200


@dataclass(frozen=True, slots=True)
class LoadPhase:
    """`users` concurrent users send `requests` (whole HTTP requests, in turn) to the server at host and port for
    `seconds`, and each at least `min_requests`. Requests in flight at the end are completed."""

    host: str
    port: int
    requests: list[bytes]
    users: int
    seconds: float
    min_requests: int

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """The phase in one line of input, decoded."""
        host, port, path = fields["host"], fields["port"], fields["path"]
        requests = [
            request_bytes(host, port, path, one["headers"], b64decode(one["body"])) for one in fields["requests"]
        ]
        return cls(host, port, requests, fields["users"], fields["seconds"], fields["min_requests"])


@dataclass(slots=True)
class LoadResult:
    """The measurements of one phase.

    `latencies_us` has one value for each answered request, from the first attempt to the answer, waiting included.
    `refused` counts replies 429 and 503, `waited_us` is the waiting they caused, `errors` counts failures by cause.
    `in_time` answers arrived while all users were active, the last after `in_time_s` seconds: later answers do not
    count towards the rate, because the number of users falls."""

    latencies_us: list[int] = field(default_factory=list)
    refused: int = 0
    waited_us: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    sent_bytes: int = 0
    received_bytes: int = 0
    in_time: int = 0
    in_time_s: float = 0.0
    cpu_s: float = 0.0

    @property
    def rate(self) -> float:
        """Answers a second while all users were active."""
        return self.in_time / self.in_time_s if self.in_time_s else 0.0

    def add_error(self, cause: str) -> None:
        """Count a failure; beyond ten distinct causes all are counted as "others"."""
        cause = cause if cause in self.errors or len(self.errors) < _MAX_CAUSES else "others"
        self.errors[cause] = self.errors.get(cause, 0) + 1


class ConnectionBroken(Exception):
    """The connection cannot be used any more; the message is the cause."""


@dataclass(frozen=True, slots=True)
class ServerReply:
    """One reply. `sent_bytes` and `received_bytes` include headers; `excerpt` is the beginning of the body."""

    status: int
    excerpt: str
    retry_after_s: float
    sent_bytes: int
    received_bytes: int


class Connection:
    """A kept-alive connection with one request in flight."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, host: str, port: int, timeout_s: float) -> Self:
        """Connect. Raises ConnectionBroken."""
        try:
            async with asyncio.timeout(timeout_s):
                return cls(*await asyncio.open_connection(host, port, limit=_MAX_HEADER_BYTES))
        except OSError as error:
            raise ConnectionBroken(f"no connection: {str(error) or type(error).__name__}") from error

    async def send(self, request: bytes, timeout_s: float) -> ServerReply:
        """Send a whole request and wait for its reply. Raises ConnectionBroken."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._send(request)
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            raise ConnectionBroken(str(error) or type(error).__name__) from error

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()

    async def _send(self, request: bytes) -> ServerReply:
        self._writer.write(request)
        await self._writer.drain()
        head = await self._reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers["content-length"]) if "content-length" in headers else -1
        if not 0 <= length <= _MAX_REPLY_BYTES:
            raise ValueError(f"a reply of {length} bytes")
        body = await self._reader.readexactly(length)
        retry_after = headers.get("retry-after", "")
        pause_s = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0.0
        status, excerpt = int(first.split(" ", 2)[1]), body[:_EXCERPT_BYTES].decode(errors="replace")
        return ServerReply(status, excerpt, pause_s, len(request), len(head) + length)


def request_bytes(host: str, port: int, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """A POST request, header and body, as it is sent."""
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}:{port}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def run_phase(phase: LoadPhase) -> LoadResult:
    """Connect all users, start them together, and wait for all answers."""
    result, start = LoadResult(), asyncio.Barrier(phase.users)
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), _exit)
    cpu_s = time.process_time()
    await asyncio.gather(*(_run_user(phase, number, result, start) for number in range(phase.users)))
    result.cpu_s = time.process_time() - cpu_s
    return result


def _exit() -> None:
    """Standard input is readable during a phase only when the parent has ended."""
    os._exit(1)


async def _run_user(phase: LoadPhase, number: int, result: LoadResult, start: asyncio.Barrier) -> None:
    connection = None
    with suppress(ConnectionBroken):  # the first request connects again
        connection = await Connection.open(phase.host, phase.port, TIMEOUT_S)
    await start.wait()
    began, count = time.perf_counter(), 0
    while count < phase.min_requests or time.perf_counter() - began < phase.seconds:
        request, count = phase.requests[(number + count) % len(phase.requests)], count + 1
        try:
            if connection is None:
                connection = await Connection.open(phase.host, phase.port, TIMEOUT_S)
            await _send_until_answered(connection, request, result)
        except ConnectionBroken as error:
            result.add_error(str(error))
            if connection is not None:
                connection.close()
            connection = None
        else:
            if (passed_s := time.perf_counter() - began) <= phase.seconds:
                result.in_time, result.in_time_s = result.in_time + 1, max(result.in_time_s, passed_s)
    if connection is not None:
        connection.close()


async def _send_until_answered(connection: Connection, request: bytes, result: LoadResult) -> None:
    began = time.perf_counter_ns()
    while True:
        reply = await connection.send(request, TIMEOUT_S)
        result.sent_bytes += reply.sent_bytes
        result.received_bytes += reply.received_bytes
        if reply.status not in _RETRIED:
            break
        result.refused += 1
        if time.perf_counter_ns() - began > TIMEOUT_S * 1e9:
            break
        jitter = random.uniform(1, 1.25)  # noqa: S311 - so that refused users do not return together
        pause_s = max(_MIN_PAUSE_S, reply.retry_after_s) * jitter
        await asyncio.sleep(pause_s)
        result.waited_us += round(pause_s * 1e6)
    if reply.status == HTTPStatus.OK:
        result.latencies_us.append((time.perf_counter_ns() - began) // 1000)
    else:
        result.add_error(f"status {reply.status} {reply.excerpt}".rstrip())


def main() -> None:
    """Run one phase for each line of standard input, until it closes."""
    hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    soft_limit = _MAX_CONNECTIONS if hard_limit < 0 else min(_MAX_CONNECTIONS, hard_limit)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft_limit, hard_limit))
    for line in sys.stdin:
        result = asyncio.run(run_phase(LoadPhase.from_json(json.loads(line))))
        write_line(sys.stdout, json.dumps(asdict(result)))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
