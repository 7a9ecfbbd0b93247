"""Many users of a server at once, in a process of their own: `python -m hybrid_batch.inference.benchmark.clients`.

Each line of its input is a turn, as JSON; each line of its output says how that turn went. A user has a connection of
his own, sends his next request when he has the answer to the one before, and comes again when told to (429 or 503 with
Retry-After), for a minute at most.
"""

import asyncio
import json
import os
import random
import resource
import sys
import time
from base64 import b64decode
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from typing import Any

from hybrid_batch.inference.benchmark.connection import Broken, Connection, request_bytes

TIMEOUT_S = 60.0
_LEAST_PAUSE_S = 0.1
_LATER = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_CONNECTIONS = 4096
_KINDS = 10  # of errors


@dataclass(frozen=True, slots=True)
class Turn:
    """So many users, who go on asking the server at host and port for so many seconds, each at least `least` times;
    what was asked is waited for. The requests are whole, and users take them in turn."""

    host: str
    port: int
    requests: list[bytes]
    users: int
    seconds: float
    least: int

    @classmethod
    def of(cls, told: dict[str, Any]) -> "Turn":
        """From a line of input."""
        host, port = told["host"], told["port"]
        requests = [
            request_bytes(host, port, told["path"], one["headers"], b64decode(one["body"])) for one in told["requests"]
        ]
        return cls(host, port, requests, told["users"], told["seconds"], told["least"])


@dataclass(slots=True)
class Tally:
    """How a turn went. `latencies_us` are of what was answered, from the first asking to the answer in hand, whatever
    was waited between. `refused` counts being told to come later, `waited_us` what was waited because of that.
    `errors` counts what went wrong by what it was. While users went on asking there were `in_time` answers, the last of
    them after `in_time_s`; what came later is not in the rate, because fewer and fewer users ask then."""

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
        """Answers a second while all users were asking."""
        return self.in_time / self.in_time_s if self.in_time_s else 0.0

    def fail(self, cause: str) -> None:
        """Count an error; of very many kinds the first."""
        cause = cause if cause in self.errors or len(self.errors) < _KINDS else "others"
        self.errors[cause] = self.errors.get(cause, 0) + 1


async def play(turn: Turn) -> Tally:
    """All users at once, from when all are connected until all have their answers."""
    tally, start = Tally(), asyncio.Barrier(turn.users)
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), _leave)
    cpu_s = time.process_time()
    await asyncio.gather(*(_use(turn, number, tally, start) for number in range(turn.users)))
    tally.cpu_s = time.process_time() - cpu_s
    return tally


def _leave() -> None:
    """There is something to read in the middle of a turn: the end, because whoever asked for the turn is gone."""
    os._exit(1)


async def _use(turn: Turn, number: int, tally: Tally, start: asyncio.Barrier) -> None:
    connection = None
    with suppress(Broken):  # it is tried again with the first request
        connection = await Connection.open(turn.host, turn.port, TIMEOUT_S)
    await start.wait()
    began, count = time.perf_counter(), 0
    while count < turn.least or time.perf_counter() - began < turn.seconds:
        request, count = turn.requests[(number + count) % len(turn.requests)], count + 1
        try:
            if connection is None:
                connection = await Connection.open(turn.host, turn.port, TIMEOUT_S)
            await _ask(connection, request, tally)
        except Broken as error:
            tally.fail(str(error))
            if connection is not None:
                connection.close()
            connection = None
        else:
            if (passed := time.perf_counter() - began) <= turn.seconds:
                tally.in_time, tally.in_time_s = tally.in_time + 1, max(tally.in_time_s, passed)
    if connection is not None:
        connection.close()


async def _ask(connection: Connection, request: bytes, tally: Tally) -> None:
    began = time.perf_counter_ns()
    while True:
        reply = await connection.ask(request, TIMEOUT_S)
        tally.sent_bytes += reply.sent
        tally.received_bytes += reply.received
        if reply.status not in _LATER:
            break
        tally.refused += 1
        if time.perf_counter_ns() - began > TIMEOUT_S * 1e9:
            break
        pause_s = max(_LEAST_PAUSE_S, reply.retry_after_s) * random.uniform(1, 1.25)  # noqa: S311 - so that not all come back at once
        await asyncio.sleep(pause_s)
        tally.waited_us += round(pause_s * 1e6)
    if reply.status == HTTPStatus.OK:
        tally.latencies_us.append((time.perf_counter_ns() - began) // 1000)
    else:
        tally.fail(f"status {reply.status} {reply.said}".rstrip())


def main() -> None:
    """Turn by turn, until the input ends."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (_CONNECTIONS if most < 0 else min(_CONNECTIONS, most), most))
    for line in sys.stdin:
        tally = asyncio.run(play(Turn.of(json.loads(line))))
        sys.stdout.write(f"{json.dumps(asdict(tally))}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
