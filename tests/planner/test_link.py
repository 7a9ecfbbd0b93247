"""The emulated link of the benchmarks: its rate and delay are those given, and no byte is lost."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from bench.link import PROFILES, Conditions, MeasuredLink, _Direction, check_link, open_link
from tests.conftest import HANG_S, free_port

ROOT = Path(__file__).parent.parent.parent


@contextmanager
def ends(*schedule: tuple[float, Conditions]) -> Iterator[tuple[socket.socket, socket.socket]]:
    """The two ends of a connection through a link."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        open_link("127.0.0.1", listener.getsockname()[1], *schedule) as link,
        socket.create_connection(("127.0.0.1", link.port)) as near,
        listener.accept()[0] as far,
    ):
        yield near, far


def send(source: socket.socket, data: bytes) -> None:
    threading.Thread(target=source.sendall, args=(data,), daemon=True).start()


def receive(target: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += target.recv(size - len(data))
    return data


class FakeClock:
    """The link's clock, which advances only when the link or the test sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch) -> FakeClock:
    made = FakeClock()
    monkeypatch.setattr("bench.link.time", made)
    return made


def arrivals(direction: _Direction, clock: FakeClock, count: int, size: int = 5000) -> list[float]:
    """Seconds from now until each of `count` chunks arrives; each is sent as soon as the link accepts it."""
    start = clock.now
    return [direction.reserve(size, 0.0) - start for _ in range(count)]


@pytest.mark.parametrize("conditions", [*PROFILES, Conditions(18.88, 20, down_mbit=5.85)])
def test_rate_and_delay_are_those_given(clock, conditions):
    for down, mbit in ((False, conditions.rate_mbit), (True, conditions.down_mbit or conditions.rate_mbit)):
        found = arrivals(_Direction([(0, conditions)], down=down), clock, 400)
        each_s, delay_s = 5000 * 8e-6 / mbit, conditions.rtt_ms / 2000
        assert found == pytest.approx([delay_s + each_s * number for number in range(1, 401)])


def test_a_sender_is_blocked_when_the_links_buffer_is_full(clock):
    direction, start = _Direction([(0, Conditions(1.0, 50))], down=False), clock.now
    last = arrivals(direction, clock, 50)[-1]
    assert last == pytest.approx(0.025 + 50 * 0.04)
    assert clock.now - start == pytest.approx(
        last - 0.025 - 0.04 - 0.05, abs=0.003
    )  # all but the last chunk and the buffer


def test_conditions_change_on_schedule(clock):
    direction = _Direction(
        [(0, Conditions(100)), (0.6, Conditions(4)), (5, Conditions(0)), (7, Conditions(100))], down=False
    )
    assert arrivals(direction, clock, 10)[-1] == pytest.approx(10 * 5000 * 8e-6 / 100)
    clock.sleep(0.6)
    assert arrivals(direction, clock, 10)[-1] == pytest.approx(10 * 5000 * 8e-6 / 4)
    clock.now = 1005.0
    assert arrivals(direction, clock, 1)[-1] == pytest.approx(2.0, abs=0.01), "chunks wait for the end of the outage"


def test_jitter_stays_within_its_limits(clock):
    direction, delays = _Direction([(0, Conditions(100, 40, jitter_ms=20))], down=False), []
    for _ in range(200):
        clock.sleep(1)
        delays += arrivals(direction, clock, 1, size=125)
    assert 0 <= min(delays) < 0.003
    assert 0.037 < max(delays) <= 0.04001


def test_a_stall_delays_the_following_bytes(clock):
    direction, delays = _Direction([(0, Conditions(100, stall_every_s=0.1, stall_ms=150))], down=False), []
    for _ in range(200):
        clock.sleep(0.2)
        delays += arrivals(direction, clock, 1, size=125)
    assert {round(delay, 3) for delay in delays} == {0.0, 0.15}


@pytest.mark.parametrize("conditions", [PROFILES[1], PROFILES[8], Conditions(18.88, 20, down_mbit=5.85)])
def test_no_byte_arrives_too_early_through_a_real_link(conditions):
    """The load of this machine only adds to the time."""
    data = bytes(range(256)) * 400
    with ends((0, conditions)) as (near, far):
        for source, target, mbit in (
            (near, far, conditions.rate_mbit),
            (far, near, conditions.down_mbit or conditions.rate_mbit),
        ):
            start = time.perf_counter()
            send(source, data)
            assert receive(target, len(data)) == data
            assert time.perf_counter() - start >= len(data) * 8e-6 / mbit + conditions.rtt_ms / 2000


MEASURED = MeasuredLink(5.85, 5.85, 50)


@pytest.mark.parametrize(
    ("attempts", "is_accepted"),
    [
        ([MEASURED], True),
        ([replace(MEASURED, up_mbit=5.85 * 1.029, down_mbit=5.85 * 0.971, rtt_ms=52.4)], True),
        ([replace(MEASURED, up_mbit=5.0), replace(MEASURED, rtt_ms=70), MEASURED], True),
        ([replace(MEASURED, up_mbit=5.85 * 1.031)] * 3, False),
        ([replace(MEASURED, down_mbit=5.85 * 0.969)] * 3, False),
        ([replace(MEASURED, rtt_ms=52.6)] * 3, False),
        ([replace(MEASURED, up_mbit=5.0)] * 3 + [MEASURED], False),
    ],
)
def test_a_link_that_is_inaccurate_in_all_attempts_is_refused(monkeypatch, attempts, is_accepted):
    measured = iter(attempts)
    monkeypatch.setattr("bench.link._measure", lambda *_: next(measured))
    with nullcontext() if is_accepted else pytest.raises(RuntimeError, match="The link should have"):
        assert check_link(Conditions(5.85, 50), attempts=3) == attempts[-1]


def test_a_real_link_that_stalls_is_refused():
    with pytest.raises(RuntimeError, match="The link should have"):
        check_link(Conditions(5.85, 5, stall_every_s=0.1, stall_ms=50), seconds=0.5, attempts=1)


def test_there_are_twelve_profiles():
    assert {profile.rate_mbit for profile in PROFILES} == {1.1, 5.85, 18.88, 100}
    assert {profile.rtt_ms for profile in PROFILES} == {5, 50, 150}


def test_an_outage_delays_all_bytes_and_loses_none():
    data = bytes(range(256)) * 4000
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        open_link("127.0.0.1", listener.getsockname()[1], (0, Conditions(0.1))) as link,  # 80 seconds for all bytes
        socket.create_connection(("127.0.0.1", link.port)) as near,
        listener.accept()[0] as far,
    ):
        send(near, data)
        first = receive(far, 1)
        start = time.perf_counter()
        link.change((0, Conditions(0)), (2.0, Conditions(100)))
        assert first + receive(far, len(data) - 1) == data
        assert time.perf_counter() - start > 1.9


def test_conditions_can_be_changed_during_a_connection():
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        open_link("127.0.0.1", listener.getsockname()[1], (0, Conditions(0))) as link,
        socket.create_connection(("127.0.0.1", link.port)) as near,
        listener.accept()[0] as far,
    ):
        near.sendall(b"held")
        far.settimeout(0.2)
        with pytest.raises(TimeoutError):
            far.recv(4)
        link.change((0, Conditions(100)))
        far.settimeout(HANG_S)
        assert receive(far, 4) == b"held"


def test_jitter_keeps_the_order():
    data = bytes(range(256)) * 40
    with ends((0, Conditions(10, 40, jitter_ms=20))) as (near, far):
        send(near, data)
        assert receive(far, len(data)) == data


def test_closing_one_end_closes_the_other():
    with ends((0, Conditions(100, 5))) as (near, far):
        near.sendall(b"last words")
        near.shutdown(socket.SHUT_WR)
        assert receive(far, 10) == b"last words"
        assert far.recv(1) == b""
        far.sendall(b"answer")
        far.close()
        assert receive(near, 6) == b"answer"
        assert near.recv(1) == b""


def test_without_a_listener_the_connection_is_closed():
    with (
        open_link("127.0.0.1", free_port(), (0, Conditions(100))) as link,
        socket.create_connection(("127.0.0.1", link.port)) as near,
    ):
        assert near.recv(1) == b""


def test_the_command_line_starts_a_link():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        to = f"127.0.0.1:{listener.getsockname()[1]}"
        command = [sys.executable, "-m", "bench.link", "--to", to, "--rate-mbit", "5.85", "--rtt-ms", "10"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            try:
                port = json.loads(process.stdout.readline())
                start = time.perf_counter()
                with socket.create_connection(("127.0.0.1", port)) as near, listener.accept()[0] as far:
                    near.sendall(b"hello")
                    assert receive(far, 5) == b"hello"
                    assert time.perf_counter() - start > 0.014
            finally:
                process.kill()
