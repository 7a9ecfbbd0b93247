"""The link that benches run over: as slow and as far as it says, and nothing lost on the way."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.link import PROFILES, Conditions, check_link, open_link

ROOT = Path(__file__).parent.parent.parent


@contextmanager
def ends(*schedule: tuple[float, Conditions]) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a connection through a link."""
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


@pytest.mark.parametrize("conditions", [PROFILES[1], PROFILES[8], Conditions(18.88, 20, down_mbit=5.85)])
def test_rate_and_round_trip_are_as_stated(conditions):
    assert check_link(conditions, seconds=0.5, attempts=20)


def test_a_link_that_is_not_as_stated_is_found_out():
    with pytest.raises(RuntimeError, match="should be"):
        check_link(Conditions(5.85, 5, stall_every_s=0.1, stall_ms=50), seconds=0.5, attempts=1)


def test_there_are_twelve_profiles():
    assert {profile.rate_mbit for profile in PROFILES} == {1.1, 5.85, 18.88, 100}
    assert {profile.rtt_ms for profile in PROFILES} == {5, 50, 150}


def test_conditions_follow_the_script():
    data = bytes(range(256)) * 1000
    with ends((0, Conditions(100)), (0.6, Conditions(4))) as (near, far):
        start = time.perf_counter()
        send(near, data)
        assert receive(far, len(data)) == data
        fast = time.perf_counter() - start
        time.sleep(max(0.0, start + 0.8 - time.perf_counter()))
        start = time.perf_counter()
        send(near, data)
        assert receive(far, len(data)) == data
        slow = time.perf_counter() - start
    assert slow > 0.9 * len(data) / 0.5e6
    assert fast < slow / 2


def test_an_outage_holds_everything_and_loses_nothing():
    data = bytes(range(256)) * 4000
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        open_link("127.0.0.1", listener.getsockname()[1], (0, Conditions(10))) as link,  # 0.8 s for all
        socket.create_connection(("127.0.0.1", link.port)) as near,
        listener.accept()[0] as far,
    ):
        send(near, data)
        first = receive(far, 1)
        start = time.perf_counter()
        link.change((0, Conditions(0)), (2.0, Conditions(100)))
        assert first + receive(far, len(data) - 1) == data
        assert time.perf_counter() - start > 1.9


def test_conditions_can_be_changed_while_running():
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
        far.settimeout(10)
        assert receive(far, 4) == b"held"


def test_jitter_delays_but_keeps_the_order():
    with ends((0, Conditions(100, 40, jitter_ms=20))) as (near, far):
        waits = []
        for number in range(30):
            start = time.perf_counter()
            near.sendall(bytes([number]))
            assert far.recv(16) == bytes([number])
            waits.append(time.perf_counter() - start)
    later = waits[1:]  # the first waits for the handshake too
    assert waits[0] > 0.04
    assert max(later) - min(later) > 0.01
    assert min(later) < 0.015


def test_a_stall_delays_what_follows():
    with ends((0, Conditions(100, stall_every_s=0.1, stall_ms=150))) as (near, far):
        waits = []
        for _ in range(8):
            time.sleep(0.1)
            start = time.perf_counter()
            near.sendall(b"x")
            far.recv(1)
            waits.append(time.perf_counter() - start)
    assert max(waits) > 0.14
    assert min(waits) < 0.1


def test_the_end_of_either_side_reaches_the_other():
    with ends((0, Conditions(100, 5))) as (near, far):
        near.sendall(b"last words")
        near.shutdown(socket.SHUT_WR)
        assert receive(far, 10) == b"last words"
        assert far.recv(1) == b""
        far.sendall(b"answer")
        far.close()
        assert receive(near, 6) == b"answer"
        assert near.recv(1) == b""


def test_where_nobody_listens_the_connection_is_closed():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with (
        open_link("127.0.0.1", port, (0, Conditions(100))) as link,
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
                with socket.create_connection(("127.0.0.1", port)) as near, listener.accept()[0] as far:
                    start = time.perf_counter()
                    near.sendall(b"hello")
                    assert receive(far, 5) == b"hello"
                    assert time.perf_counter() - start > 0.014
            finally:
                process.kill()
