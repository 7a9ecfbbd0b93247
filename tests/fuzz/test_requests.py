"""Malformed HTTP requests to a real server: each gets an answer, and the server keeps answering others.

Sent on a connection each, whose sending direction is then closed. HTTP leaves no answer possible in one case only:
nothing but empty lines was sent, which is no request (RFC 9112, 2.2).
"""

import os
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import HANG_S
from tests.fuzz.malformed_requests import malformed_requests
from tests.remote.limited_server import limited_server, read_all, status_of

pytestmark = pytest.mark.slow
CLIENTS = 8


def exchange(address, content: bytes) -> bytes:
    """What the server answers."""
    with socket.create_connection(address, timeout=HANG_S) as client:
        try:
            client.sendall(content)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it has answered and closed already
        return read_all(client)


def test_every_malformed_request_is_answered(rounds, record_property):
    count, seed = rounds(1000, 10_000), int(os.environ.get("FUZZ_SEED", "11"))
    contents = list(malformed_requests(count, seed))
    start = time.monotonic()
    with limited_server() as server:
        with ThreadPoolExecutor(CLIENTS) as pool:
            replies = list(pool.map(lambda content: exchange(server.address, content), contents))
        seconds = time.monotonic() - start
        statuses = Counter(map(status_of, replies))
        silent = [content for content, reply in zip(contents, replies, strict=True) if not status_of(reply)]
        print(f"seed {seed}: {count} requests in {seconds:.1f} s, statuses {dict(sorted(statuses.items()))}")  # noqa: T201
        assert not [content[:200] for content in silent if content.strip(b"\r\n")]
        assert not [reply for reply in replies if status_of(reply) >= 500 and status_of(reply) != 501]
        assert server.infer()[0] == 200
        assert "Traceback" not in server.log()
        assert len(server.log()) < 4000
        assert server.stop() == 0
