"""Slow, broken and vanished clients of a real server: deadlines, room for others, an answer to each."""

import contextlib
import errno
import resource
import socket
import threading
import time

import psutil
import pytest

from tests.conftest import HANG_S
from tests.remote.limited_server import BODY, INFER, limited_server, read_all, request, status_of

pytestmark = pytest.mark.slow

GENEROUS_S = 20.0  # a busy machine; the goal is 2 s
METADATA = b"GET /v2/models/digits HTTP/1.1\r\nHost: x\r\n\r\n"
HALF_HEADER = b"POST / HTTP/1.1\r\nHost: x\r\nA"


def limits(**values) -> str:
    """The argument of ServerSettings for ConnectionLimits."""
    return f"connections=ConnectionLimits({', '.join(f'{name}={value}' for name, value in values.items())})"


@pytest.fixture(scope="module")
def server():
    with limited_server() as server:
        yield server


@pytest.fixture(scope="module")
def hasty():
    """A server with deadlines of half a second."""
    with limited_server(f"read_timeout_s=60, {limits(header_s=0.5, grace_s=0.5, stall_s=0.2)}") as server:
        yield server


def drip(client, stop):
    """Send a byte every 50 ms until the server closes or `stop` is set."""
    try:
        while not stop.wait(0.05):
            client.sendall(b"0")
    except OSError:
        pass


def test_slow_bodies_take_no_place_of_others(rounds):
    with limited_server(processes=rounds(1, 2)) as server:
        clients = [server.connect() for _ in range(130)]
        for client in clients:
            client.sendall(request()[:-40])
        answers = []
        for _ in range(5):
            for client in clients:
                client.sendall(b" ")
            answers.append(server.infer())
        assert [status for status, _ in answers] == [200] * 5
        assert max(seconds for _, seconds in answers) < GENEROUS_S
        for client in clients:
            client.close()
        assert server.stop() == 0


def test_half_sent_headers_with_few_descriptors_stop_nobody():
    with limited_server(descriptors=256) as server:
        clients = []
        for _ in range(320):
            clients.append(server.connect())
            clients[-1].sendall(HALF_HEADER)
        answers = [server.infer() for _ in range(5)]
        assert [status for status, _ in answers] == [200] * 5
        assert max(seconds for _, seconds in answers) < GENEROUS_S
        assert len(server.log()) < 4000
        for client in clients:
            client.close()


def test_without_descriptors_the_server_waits_instead_of_spinning():
    with limited_server(limits(stall_s=60, header_s=60)) as server:
        process = psutil.Process(server.process.pid)
        assert server.infer()[0] == 200
        most = process.num_fds() + 2
        process.rlimit(resource.RLIMIT_NOFILE, (most, process.rlimit(resource.RLIMIT_NOFILE)[1]))
        busy = []
        for _ in range(10):
            busy.append(server.connect())
            busy[-1].sendall(request()[:-1])
        before, start = server.cpu_s(), time.monotonic()
        while time.monotonic() - start < 1.5:
            time.sleep(0.1)
        assert server.cpu_s() - before < 1, "it spins"
        assert len(server.log()) < 4000
        for client in busy:
            client.close()
        assert server.infer()[0] == 200


def test_a_header_that_stops_is_answered_with_408(hasty):
    with hasty.connect() as client:
        client.sendall(HALF_HEADER)
        assert status_of(read_all(client)) == 408


def test_a_connection_that_requests_nothing_is_closed(hasty):
    with hasty.connect() as client:
        assert read_all(client) == b""


def test_a_header_that_drips_is_answered_with_408(hasty):
    stop = threading.Event()
    with hasty.connect() as client:
        client.sendall(HALF_HEADER)
        thread = threading.Thread(target=drip, args=(client, stop))
        thread.start()
        assert status_of(read_all(client)) == 408
        stop.set()
        thread.join()


def test_a_second_header_on_a_connection_has_a_deadline_too(hasty):
    with hasty.connect() as client:
        client.sendall(METADATA)
        assert status_of(read_all(client, until_reply=True)) == 200
        client.sendall(HALF_HEADER)
        assert status_of(read_all(client)) == 408


def test_a_body_below_the_minimum_rate_is_answered_with_408(hasty):
    stop = threading.Event()
    with hasty.connect() as client:
        client.sendall(request(BODY)[:-100])
        thread = threading.Thread(target=drip, args=(client, stop))
        thread.start()
        reply = read_all(client, until_reply=True)
        stop.set()
        thread.join()
    assert status_of(reply) == 408
    assert b"too slowly" in reply


def test_a_request_has_a_deadline_however_fast_it_moves():
    with limited_server(limits(request_s=1, grace_s=0.5, bytes_per_s=1)) as server, server.connect() as client:
        client.sendall(f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n".encode())
        end = time.monotonic() + HANG_S
        client.settimeout(0.02)
        reply = b""
        while not reply and time.monotonic() < end:
            client.sendall(bytes(1000))
            with contextlib.suppress(TimeoutError):
                reply = client.recv(1 << 16)
        assert status_of(reply) == 408


def test_the_rest_of_an_answered_body_has_a_deadline(hasty):
    stop = threading.Event()
    with hasty.connect() as client:
        client.sendall(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        assert status_of(read_all(client, until_reply=True)) == 404
        thread = threading.Thread(target=drip, args=(client, stop))
        thread.start()
        assert read_all(client) == b""
        stop.set()
        thread.join()


def test_a_client_that_does_not_read_its_replies_is_cut_off(hasty):
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(hasty.address)
        client.settimeout(HANG_S)
        with pytest.raises(OSError) as raised:
            for _ in range(20_000):  # 120 MB, more than the buffers of both systems
                client.sendall(METADATA * 100)
        assert raised.value.errno in (errno.EPIPE, errno.ECONNRESET), raised.value
    assert hasty.infer()[0] == 200


def test_pipelined_requests_are_answered_in_order(server):
    with server.connect() as client:
        client.sendall(METADATA + request() + b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        replies = read_all(client).split(b"HTTP/1.1 ")[1:]
    assert [int(reply[:3]) for reply in replies] == [200, 200, 404]


@pytest.mark.parametrize("content", [request(), METADATA, METADATA + request()], ids=["post", "get", "pipelined"])
def test_a_half_closed_connection_gets_its_reply(server, content):
    with server.connect() as client:
        client.sendall(content)
        client.shutdown(socket.SHUT_WR)
        assert status_of(read_all(client)) == 200


@pytest.mark.parametrize(
    ("content", "part"),
    [(HALF_HEADER, b"header"), (request()[:-1], b"body"), (METADATA + HALF_HEADER, b"header")],
    ids=["header", "body", "pipelined"],
)
def test_a_half_sent_request_on_a_half_closed_connection_is_400(server, content, part):
    with server.connect() as client:
        client.sendall(content)
        client.shutdown(socket.SHUT_WR)
        reply = read_all(client)
    last = b"HTTP/1.1 " + reply.rpartition(b"HTTP/1.1 ")[2]
    assert status_of(last) == 400
    assert b"in the middle of the " + part in last


def test_a_malformed_request_with_a_long_rest_gets_its_answer(server):
    """Closing with unread data would reset the connection, and the client would not see the answer."""
    with server.connect() as client:
        client.sendall(b"GET / HTTP/9\r\nNo header\r\n\r\n" + bytes(4_000_000))
        assert status_of(read_all(client)) == 400


def many_headers(count: int, size: int = 1) -> bytes:
    return (
        b"GET /v2 HTTP/1.1\r\nHost: x\r\n" + b"".join(b"h%d: %s\r\n" % (i, b"x" * size) for i in range(count)) + b"\r\n"
    )


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (many_headers(90), 200),
        (many_headers(101), 431),
        (many_headers(20, 10_000), 431),
        (b"GET /v2 HTTP/1.1\r\nHost: x\r\nA:" + b" " * 300_000 + b"\r\n\r\n", 431),
        (METADATA[:-2] + b"Content-Length: 5\r\n\r\nabcde" + many_headers(40, 5000), 431),
    ],
    ids=["few", "many", "large", "one", "pipelined"],
)
def test_the_header_is_limited_in_lines_and_bytes(server, content, status):
    with server.connect() as client:
        client.sendall(content)
        client.shutdown(socket.SHUT_WR)
        replies = read_all(client).split(b"HTTP/1.1 ")
    assert int(replies[-1][:3]) == status


def test_a_body_in_tiny_chunks_is_refused_before_it_costs_time(server):
    head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    before = server.cpu_s()
    with server.connect() as client:
        client.sendall(head + b"1\r\n0\r\n" * 400_000)
        assert status_of(read_all(client)) == 400
    assert server.cpu_s() - before < 1, "400,000 chunks take 4 s"
    with server.connect() as client:
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (BODY[:7], BODY[7:100], BODY[100:]))
        client.sendall(head + chunks + b"0\r\n\r\n")
        assert status_of(read_all(client, until_reply=True)) == 200


def test_a_request_with_two_lengths_is_refused(server):
    """A proxy that believes the other one would take the rest of the body for a request of someone else."""
    lines = ("Host: x", f"Content-Length: {len(BODY)}", "Transfer-Encoding: chunked")
    for order in (lines, lines[::-1]):
        with server.connect() as client:
            head = "\r\n".join([f"POST {INFER} HTTP/1.1", *order, "", ""]).encode()
            client.sendall(head + b"0\r\n\r\n" + METADATA)
            reply = read_all(client)
        assert status_of(reply) == 400
        assert reply.count(b"HTTP/1.1 ") == 1, "the rest was served as a request"


def test_idle_connections_close_first_and_the_longest_idle_of_them():
    with limited_server(limits(connections=4)) as small:
        idle = []
        for _ in range(4):
            idle.append(small.connect())
            idle[-1].sendall(METADATA)
            assert status_of(read_all(idle[-1], until_reply=True)) == 200
        assert small.infer()[0] == 200
        assert read_all(idle[0]) == b"", "the longest idle was not closed"
        idle[3].sendall(METADATA)
        assert status_of(read_all(idle[3], until_reply=True)) == 200


def begin_request(server):
    """A connection whose request waits for its body. A connection that was closed a moment ago may still count."""
    end = time.monotonic() + HANG_S
    while time.monotonic() < end:
        client = server.connect()
        client.sendall(
            f"POST {INFER} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n".encode()
        )
        if b" 100 " in client.recv(100):
            return client
        client.close()
    raise AssertionError("no connection was accepted")


def test_a_peer_has_its_own_cap_and_loses_its_own_connections():
    with limited_server(limits(connections=8, for_peer=2)) as server:
        idle = [server.connect() for _ in range(2)]
        for client in idle:
            client.sendall(METADATA)
            read_all(client, until_reply=True)
        assert server.infer()[0] == 200
        assert read_all(idle[0]) == b""
        busy = [begin_request(server) for _ in range(2)]
        with server.connect() as third:
            assert status_of(read_all(third, until_reply=True)) == 429
        busy[0].sendall(b"123456789")
        assert status_of(read_all(busy[0], until_reply=True)) == 400


def test_one_honest_client_may_have_hundreds_of_connections(server):
    clients = [server.connect() for _ in range(500)]
    for client in clients:
        client.sendall(METADATA)
    assert {status_of(read_all(client, until_reply=True)) for client in clients} == {200}
    for client in clients:
        client.close()


def test_slow_clients_do_not_delay_shutdown():
    with limited_server(limits(grace_s=2)) as server:
        clients = [server.connect() for _ in range(20)]
        for client in clients[:10]:
            client.sendall(HALF_HEADER)
        for client in clients[10:]:
            client.sendall(b"GARBAGE\r\n\r\n")
        assert server.infer()[0] == 200
        assert server.stop() == 0


def test_malformed_requests_write_no_log(server):
    for _ in range(20):
        with server.connect() as client:
            client.sendall(b"GET / HTTP/1.1\r\nUpgrade: x\r\nConnection: upgrade\r\nHost: x\r\n\r\n\0\r\n\r\n")
            read_all(client)
    assert server.log() == ""
