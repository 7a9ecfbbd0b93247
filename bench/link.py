"""A simulated link: a TCP proxy in its own process with a configured rate, round trip and jitter.

    python -m bench.link --to 127.0.0.1:8000 --rate-mbit 5.85 --rtt-ms 50

Rates count the payload bytes of TCP, per direction, shared by all connections. Each direction delays by half the round
trip, and the first byte of a connection by one round trip more, as a handshake does. Slow start and loss are not
simulated, except by `stall_ms`, the pause after a lost packet.
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

_CHUNK_S, _CHUNK_BYTES = 0.002, (512, 16384)  # one chunk takes 2 ms, within these sizes
_BUFFER_S = 0.05  # the sender waits while more than this is queued, as with a full buffer
_POLL_S = 0.002


@dataclass(frozen=True, slots=True)
class Conditions:
    """The conditions of a link. A rate of 0 is an outage: bytes are delayed, not lost. `down_mbit` None means equal
    to `rate_mbit`. Each delay varies by up to ± `jitter_ms`; every `stall_every_s` on average the link pauses for
    `stall_ms`."""

    rate_mbit: float
    rtt_ms: float = 0
    down_mbit: float | None = None
    jitter_ms: float = 0
    stall_every_s: float = 0
    stall_ms: float = 0


Schedule = Sequence[tuple[float, Conditions]]
"""Pairs of seconds since the start and the conditions from then on; the first at 0."""

PROFILES = tuple(Conditions(rate, rtt) for rate in (1.1, 5.85, 18.88, 100) for rtt in (5, 50, 150))


@dataclass(frozen=True, slots=True)
class Link:
    """A running link to one server."""

    port: int
    process: subprocess.Popen[str]

    @property
    def url(self) -> str:
        """The address of the far end for an HTTP client."""
        return f"http://127.0.0.1:{self.port}"

    def change(self, *schedule: tuple[float, Conditions]) -> None:
        """Start another schedule now."""
        assert self.process.stdin is not None  # noqa: S101
        self.process.stdin.write(_to_json(schedule) + "\n")
        self.process.stdin.flush()


@contextmanager
def open_link(host: str, port: int, *schedule: tuple[float, Conditions]) -> Iterator[Link]:
    """Open a link to a server until the end of the block. Its process may use all cores even if the caller is pinned,
    so the caller's work does not slow it."""
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
    """One direction of the link: it computes the arrival times of bytes."""

    def __init__(self, schedule: Schedule, *, down: bool) -> None:
        self._down, self._lock, self._random = down, threading.Lock(), random.Random(int(down))
        self.set_schedule(schedule)
        self._free_at = time.monotonic()
        self._stall_at = self._next_stall()

    def set_schedule(self, schedule: Schedule) -> None:
        start = time.monotonic()
        self._times = [start + at for at, _ in schedule]
        self._conditions = [conditions for _, conditions in schedule]

    def conditions_now(self) -> Conditions:
        return self._conditions[max(0, bisect_right(self._times, time.monotonic()) - 1)]

    def chunk(self) -> int:
        """Return the number of bytes to read at once."""
        return min(max(int(self._rate() * _CHUNK_S), _CHUNK_BYTES[0]), _CHUNK_BYTES[1])

    def reserve(self, size: int, earliest: float) -> float:
        """Wait until the link accepts `size` more bytes; return their arrival time."""
        with self._lock:
            while (rate := self._rate()) == 0 or self._free_at - time.monotonic() > _BUFFER_S:
                time.sleep(_POLL_S)
            now, conditions = time.monotonic(), self.conditions_now()
            if conditions.stall_every_s and now > self._stall_at:
                self._free_at = max(self._free_at, now) + conditions.stall_ms / 1000
                self._stall_at = self._next_stall()
            self._free_at = max(self._free_at, now, earliest) + size / rate
            jitter = self._random.uniform(-1, 1) * conditions.jitter_ms
            return self._free_at + max(0.0, conditions.rtt_ms / 2 + jitter) / 1000

    def _rate(self) -> float:
        """Return the current rate in bytes per second."""
        conditions = self.conditions_now()
        down = self._down and conditions.down_mbit is not None
        return (conditions.down_mbit or 0 if down else conditions.rate_mbit) * 125_000

    def _next_stall(self) -> float:
        every = self.conditions_now().stall_every_s
        return time.monotonic() + (self._random.expovariate(1 / every) if every else 0)


def _forward(source: socket.socket, target: socket.socket, direction: _Direction, earliest: float) -> None:
    """Forward everything from source to target, each chunk at its arrival time."""
    due: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

    def deliver() -> None:
        with suppress(OSError):
            while True:
                at, data = due.get()
                time.sleep(max(0.0, at - time.monotonic()))
                if not data:
                    return target.shutdown(socket.SHUT_WR)
                target.sendall(data)
        with suppress(OSError):  # the target is closed, so close the source
            source.shutdown(socket.SHUT_RD)
        return None

    threading.Thread(target=deliver, daemon=True).start()
    with suppress(OSError):
        while data := source.recv(direction.chunk()):
            due.put((direction.reserve(len(data), earliest), data))
    due.put((time.monotonic() + direction.conditions_now().rtt_ms / 2000, b""))


def _serve(listener: socket.socket, to: tuple[str, int], up: _Direction, down: _Direction) -> None:
    while True:
        near, _ = listener.accept()
        try:
            far = socket.create_connection(to)
        except OSError:
            near.close()  # no server: the client sees a closed connection
            continue
        for side in (near, far):
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected = time.monotonic() + up.conditions_now().rtt_ms / 1000
        threading.Thread(target=_forward, args=(near, far, up, connected), daemon=True).start()
        threading.Thread(target=_forward, args=(far, near, down, connected), daemon=True).start()


@dataclass(frozen=True, slots=True)
class MeasuredLink:
    """The measured conditions of a link."""

    up_mbit: float
    down_mbit: float
    rtt_ms: float


def check_link(conditions: Conditions, seconds: float = 1.0, attempts: int = 3) -> MeasuredLink:
    """Measure a link with these constant conditions: the rates by sending for `seconds` in each direction, the round
    trip by small messages. Raises RuntimeError unless in one of several attempts the rates are within 3 % and the
    round trip within 2 ms or 5 %."""
    wanted = MeasuredLink(
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
    raise RuntimeError(f"The link should have {wanted} but has {found}; this machine is too busy, try again.")


def _measure(conditions: Conditions, wanted: MeasuredLink, seconds: float) -> MeasuredLink:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        open_link("127.0.0.1", listener.getsockname()[1], (0, conditions)) as link,
        socket.create_connection(("127.0.0.1", link.port)) as near,
        listener.accept()[0] as far,
    ):
        rtt = min(_round_trip(near, far) for _ in range(6)) * 1000
        up = _rate(near, far, wanted.up_mbit, seconds)
        return MeasuredLink(up, _rate(far, near, wanted.down_mbit, seconds), rtt)


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
    """Run a link until interrupted, or with --control until stdin ends; print its port first."""
    parser = argparse.ArgumentParser(prog="python -m bench.link", description=__doc__.splitlines()[0])
    parser.add_argument("--to", required=True, metavar="HOST:PORT")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0: any free port")
    parser.add_argument("--script", metavar="JSON", help='[[0, {"rate_mbit": 18.88, "rtt_ms": 50}], [10, {…}]]')
    parser.add_argument("--control", action="store_true", help="read further scripts from stdin, one per line")
    for field in fields(Conditions):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=float, metavar="N")
    options = vars(parser.parse_args())
    given = {field.name: options[field.name] for field in fields(Conditions) if options[field.name] is not None}
    if (options["script"] is None) == (not given):
        parser.error("give either --script or the conditions of a link, at least --rate-mbit")
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
                up.set_schedule(schedule)
                down.set_schedule(schedule)


if __name__ == "__main__":
    main()
