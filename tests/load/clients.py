"""Clients of a server for load tests, in one event loop: honest ones that are timed, and hostile ones."""

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field

from tests.conftest import HANG_S
from tests.remote.limited_server import BODY, INFER, request, status_of

_MOST_TRIES = 200


@dataclass
class Outcome:
    """What honest clients got: seconds of each answered request, and how many of each status."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    def quantile(self, share: float) -> float:
        """A quantile of the seconds."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def honest(address, requests: int, outcome: Outcome, content: bytes) -> None:
    """Send requests one after the other; wait as long as a 429 requests, and send them again."""
    reader, writer = await asyncio.open_connection(*address)
    for _ in range(requests):
        start = time.monotonic()
        for _ in range(_MOST_TRIES):
            if writer.is_closing() or reader.at_eof():
                reader, writer = await asyncio.open_connection(*address)
            writer.write(content)
            async with asyncio.timeout(HANG_S):
                status = await _read_status(reader)
            outcome.statuses[status] += 1
            if status not in (0, 429):
                break
            await asyncio.sleep(0 if status == 0 else 1)
        outcome.seconds.append(time.monotonic() - start)
    writer.close()


async def _read_status(reader: asyncio.StreamReader) -> int:
    """The status of the next reply; 0 if the connection was closed while it was idle."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return 0
    return status_of(head)


async def hostile(address, seed: int) -> None:
    """Until cancelled: send a request slowly, half of a header, noise, requests whose replies are not read, a body that
    stalls, requests of vanished clients, tiny chunks; on a new connection whenever the server closes."""
    chosen = random.Random(seed)
    kinds = (_slow_body, _half_header, _noise, _unread, _stalled, _vanishing, _tiny_chunks)
    while True:
        try:
            reader, writer = await asyncio.open_connection(*address)
            try:
                await kinds[chosen.randrange(len(kinds))](reader, writer)
            finally:
                writer.transport.abort()
        except OSError:
            pass
        await asyncio.sleep(chosen.random())


async def _slow_body(reader, writer):
    writer.write(request()[:-100])
    while not writer.is_closing():
        writer.write(b" ")
        await asyncio.sleep(1)


async def _half_header(reader, writer):
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nA")
    await reader.read()


async def _noise(reader, writer):
    writer.write(random.randbytes(3000))
    await reader.read()


async def _unread(reader, writer):
    writer.transport.pause_reading()
    for _ in range(50):
        writer.write(b"GET /v2/models/digits HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
        await asyncio.sleep(0.2)


async def _stalled(reader, writer):
    writer.write(f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000\r\n\r\n".encode() + bytes(2_000_000))
    await reader.read()


async def _vanishing(reader, writer):
    for _ in range(5):
        writer.write(request(BODY))
    await asyncio.sleep(0.01)


async def _tiny_chunks(reader, writer):
    head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    writer.write(head.encode() + b"1\r\n0\r\n" * 20_000)
    await reader.read()
