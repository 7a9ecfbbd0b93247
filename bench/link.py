"""A link to test on: a TCP proxy in a process of its own that is as slow, far and unsteady as it is told.

    python -m bench.link --to 127.0.0.1:8000 --rate-mbit 5.85 --rtt-ms 50

Rates count the bytes that TCP carries, each direction by itself and shared by all connections. Half the round trip
is waited each way, and one more before a connection's first byte, as a handshake would. Slow start and loss are not
imitated, except as `stall_ms`: the pause a lost packet causes.
"""

import argparse
import json
import os
import queue
import random
import select
import socket
import subprocess
import sys
import threading
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

_CHUNK_S, _CHUNK_BYTES = 0.002, (512, 16384)  # what is scheduled at once: 2 ms worth, within these sizes
_AHEAD_S = 0.05  # as long as this the link may be booked; beyond it the sender waits, as before a full buffer
_POLL_S = 0.002


@dataclass(frozen=True, slots=True)
class Conditions:
    """How a link is. A rate of 0 is an outage: nothing passes, nothing is lost. `down_mbit` None: as `rate_mbit`.
    Each delay varies by up to `jitter_ms` either way; every `stall_every_s` on average all waits for `stall_ms`."""

    rate_mbit: float
    rtt_ms: float = 0
    down_mbit: float | None = None
    jitter_ms: float = 0
    stall_every_s: float = 0
    stall_ms: float = 0


Schedule = Sequence[tuple[float, Conditions]]
"""Conditions from so many seconds after the start; the first at 0."""

PROFILES = tuple(Conditions(rate, rtt) for rate in (1.1, 5.85, 18.88, 100) for rtt in (5, 50, 150))


@dataclass(frozen=True, slots=True)
class Link:
    """A running link to one server."""

    port: int
    process: subprocess.Popen[str]

    @property
    def url(self) -> str:
        """Where a tail's client finds the far end."""
        return f"http://127.0.0.1:{self.port}"

    def change(self, *schedule: tuple[float, Conditions]) -> None:
        """Another schedule, from now."""
        assert self.process.stdin is not None  # noqa: S101
        self.process.stdin.write(_to_json(schedule) + "\n")
        self.process.stdin.flush()


@contextmanager
def open_link(host: str, port: int, *schedule: tuple[float, Conditions]) -> Iterator[Link]:
    """A link to a server for as long as the context lasts. In its own process, on whatever core is free, wherever the
    caller is pinned: the caller's work does not slow it."""
    options = ["--to", f"{host}:{port}", "--script", _to_json(schedule), "--control"]
    command = [sys.executable, "-m", "bench.link", *options]
    with subprocess.Popen(
        command, cwd=Path(__file__).parent.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None  # noqa: S101
        if sys.platform == "linux":
            os.sched_setaffinity(process.pid, range(os.cpu_count() or 1))
        try:
            yield Link(int(process.stdout.readline()), process)
        finally:
            process.kill()


class _Direction:
    """One way through the link: when a byte that is here now will be there."""

    def __init__(self, schedule: Schedule, *, down: bool) -> None:
        self._down, self._lock, self._random = down, threading.Lock(), random.Random(int(down))
        self.follow(schedule)
        self._free = time.monotonic()
        self._stall = self._next_stall()

    def follow(self, schedule: Schedule) -> None:
        start = time.monotonic()
        self._times = [start + at for at, _ in schedule]
        self._conditions = [conditions for _, conditions in schedule]

    def now(self) -> Conditions:
        return self._conditions[max(0, bisect_right(self._times, time.monotonic()) - 1)]

    def chunk(self) -> int:
        """Bytes to read at once."""
        return min(max(int(self._rate() * _CHUNK_S), _CHUNK_BYTES[0]), _CHUNK_BYTES[1])

    def book(self, size: int, earliest: float) -> float:
        """Wait until the link takes `size` more bytes; the time they arrive."""
        with self._lock:
            while (rate := self._rate()) == 0 or self._free - time.monotonic() > _AHEAD_S:
                time.sleep(_POLL_S)
            now, conditions = time.monotonic(), self.now()
            if conditions.stall_every_s and now > self._stall:
                self._free = max(self._free, now) + conditions.stall_ms / 1000
                self._stall = self._next_stall()
            self._free = max(self._free, now, earliest) + size / rate
            jitter = self._random.uniform(-1, 1) * conditions.jitter_ms
            return self._free + max(0.0, conditions.rtt_ms / 2 + jitter) / 1000

    def _rate(self) -> float:
        """Bytes per second."""
        conditions = self.now()
        down = self._down and conditions.down_mbit is not None
        return (conditions.down_mbit or 0 if down else conditions.rate_mbit) * 125_000

    def _next_stall(self) -> float:
        every = self.now().stall_every_s
        return time.monotonic() + (self._random.expovariate(1 / every) if every else 0)


def _pass(source: socket.socket, target: socket.socket, direction: _Direction, earliest: float) -> None:
    """Everything from source to target, each chunk when it is due."""
    due: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

    def deliver() -> None:
        with suppress(OSError):
            while True:
                at, data = due.get()
                time.sleep(max(0.0, at - time.monotonic()))
                if not data:
                    return target.shutdown(socket.SHUT_WR)
                target.sendall(data)
        with suppress(OSError):  # the target is gone: so is the source
            source.shutdown(socket.SHUT_RD)
        return None

    threading.Thread(target=deliver, daemon=True).start()
    with suppress(OSError):
        while data := source.recv(direction.chunk()):
            due.put((direction.book(len(data), earliest), data))
    due.put((time.monotonic() + direction.now().rtt_ms / 2000, b""))


def _serve(listener: socket.socket, to: tuple[str, int], up: _Direction, down: _Direction) -> None:
    while True:
        near, _ = listener.accept()
        try:
            far = socket.create_connection(to)
        except OSError:
            near.close()  # nobody there: the client sees its connection closed
            continue
        for side in (near, far):
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected = time.monotonic() + up.now().rtt_ms / 1000
        threading.Thread(target=_pass, args=(near, far, up, connected), daemon=True).start()
        threading.Thread(target=_pass, args=(far, near, down, connected), daemon=True).start()


@dataclass(frozen=True, slots=True)
class Measured:
    """What a link was found to be."""

    up_mbit: float
    down_mbit: float
    rtt_ms: float


def check_link(conditions: Conditions, seconds: float = 1.0, attempts: int = 3) -> Measured:
    """Measure a link of these steady conditions, by bytes sent through it for `seconds` each way and by small
    messages there and back. Raises RuntimeError unless rates are within 3 % and the round trip within 2 ms or 5 %,
    in one attempt of several."""
    wanted = Measured(
        conditions.rate_mbit,
        conditions.rate_mbit if conditions.down_mbit is None else conditions.down_mbit,
        conditions.rtt_ms,
    )
    for _ in range(attempts):
        found = _measure(conditions, wanted, seconds)
        rates = (found.up_mbit / wanted.up_mbit, found.down_mbit / wanted.down_mbit)
        if all(abs(rate - 1) <= 0.03 for rate in rates) and abs(found.rtt_ms - wanted.rtt_ms) <= max(
            2.0, 0.05 * wanted.rtt_ms
        ):
            return found
    raise RuntimeError(f"The link should be {wanted} and is {found}; this machine is too busy, try again.")


def _measure(conditions: Conditions, wanted: Measured, seconds: float) -> Measured:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        open_link("127.0.0.1", listener.getsockname()[1], (0, conditions)) as link,
        socket.create_connection(("127.0.0.1", link.port)) as near,
        listener.accept()[0] as far,
    ):
        rtt = min(_round_trip(near, far) for _ in range(6)) * 1000
        up = _rate(near, far, wanted.up_mbit, seconds)
        return Measured(up, _rate(far, near, wanted.down_mbit, seconds), rtt)


def _round_trip(near: socket.socket, far: socket.socket) -> float:
    start = time.perf_counter()
    near.sendall(b"there")
    far.recv(16)
    far.sendall(b"and back")
    near.recv(16)
    return time.perf_counter() - start


def _rate(source: socket.socket, target: socket.socket, mbit: float, seconds: float) -> float:
    """Mbit/s at the target between the first and the last byte."""
    size = int(mbit * 125_000 * seconds)
    sender = threading.Thread(target=source.sendall, args=(bytes(size),), daemon=True)
    sender.start()
    first = got = len(target.recv(1 << 20))
    start = time.perf_counter()
    while got < size:
        select.select([target], [], [], 10)
        got += len(target.recv(1 << 20))
    return (got - first) * 8e-6 / (time.perf_counter() - start)


def _to_json(schedule: Schedule) -> str:
    return json.dumps([[at, asdict(conditions)] for at, conditions in schedule])


def _from_json(text: str) -> Schedule:
    return [(float(at), Conditions(**conditions)) for at, conditions in json.loads(text)]


def main() -> None:
    """Run a link until interrupted, or with --control until stdin ends; its port is the first line printed."""
    parser = argparse.ArgumentParser(prog="python -m bench.link", description=__doc__.splitlines()[0])
    parser.add_argument("--to", required=True, metavar="HOST:PORT")
    parser.add_argument("--port", type=int, default=0, help="where to listen; 0: any free port")
    parser.add_argument("--script", metavar="JSON", help='[[0, {"rate_mbit": 18.88, "rtt_ms": 50}], [10, {…}]]')
    parser.add_argument("--control", action="store_true", help="take further scripts from stdin, one a line")
    for field in fields(Conditions):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=float, metavar="N")
    options = vars(parser.parse_args())
    given = {field.name: options[field.name] for field in fields(Conditions) if options[field.name] is not None}
    if (options["script"] is None) == (not given):
        parser.error("give either --script or a link's conditions, beginning with --rate-mbit")
    schedule = _from_json(options["script"]) if options["script"] else [(0.0, Conditions(**given))]
    up, down = _Direction(schedule, down=False), _Direction(schedule, down=True)
    host, _, port = options["to"].rpartition(":")
    with socket.create_server(("127.0.0.1", options["port"])) as listener:
        print(listener.getsockname()[1], flush=True)
        server = threading.Thread(target=_serve, args=(listener, (host, int(port)), up, down), daemon=True)
        server.start()
        with suppress(KeyboardInterrupt):
            if not options["control"]:
                server.join()
            for line in sys.stdin:
                schedule = _from_json(line)
                up.follow(schedule)
                down.follow(schedule)


if __name__ == "__main__":
    main()
