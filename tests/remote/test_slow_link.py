"""Requests that take longer to send than the timeouts, over a slow link."""

import json
import socket
import socketserver
import threading
import time

import pytest

from hybrid_batch.inference.protocol.transport import NoResponse, Request
from hybrid_batch.inference.tails.aws_lambda import LambdaTransport
from hybrid_batch.inference.tails.http import HttpTransport
from hybrid_batch.inference.tails.settings import RetryPolicy, TailSettings

BYTES, ONE_READ = 12_000_000, 1 << 16
SETTINGS = TailSettings(retries=RetryPolicy(connect_timeout_s=0.3, response_timeout_s=6, attempts=1))


class SlowHandler(socketserver.StreamRequestHandler):
    """Receives a request in four parts with a pause before each, and replies with its size; or receives nothing."""

    rbufsize = 0

    def handle(self):
        while line := self.rfile.readline():
            length = 0
            while line != b"\r\n":
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
                line = self.rfile.readline()
            if self.server.stalls:
                self.server.over.wait()
                return
            left = length
            while left:
                time.sleep(self.server.pause_s)
                end = max(0, left - BYTES // 4)
                while left > end:
                    left -= len(self.connection.recv(min(left - end, ONE_READ)))
            body = json.dumps({"statusCode": 200, "headers": {}, "body": str(length)}).encode()
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


@pytest.fixture
def slow():
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), SlowHandler, bind_and_activate=False)
    server.daemon_threads, server.pause_s, server.stalls, server.over = True, 1.6, False, threading.Event()
    server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ONE_READ)
    server.server_bind()
    server.server_activate()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("sizes", [(BYTES,), (10, BYTES)], ids=["a new connection", "a reused connection"])
def test_a_large_request_may_take_longer_than_the_timeout(slow, sizes):
    transport = HttpTransport(f"http://127.0.0.1:{slow.server_address[1]}", SETTINGS)
    for content in map(bytes, sizes):
        reply = transport.send(Request("POST", "/v2/x", {}, content), 1000)
        assert json.loads(reply.content)["body"] == str(len(content))
    assert reply.round_trip_us > 6_000_000  # longer than both timeouts
    transport.close()


def test_a_stalled_link_is_one_sentence(slow):
    slow.stalls = True
    transport = HttpTransport(f"http://127.0.0.1:{slow.server_address[1]}", SETTINGS)
    with pytest.raises(NoResponse, match="timed out"):
        transport.send(Request("POST", "/v2/x", {}, bytes(BYTES)), 1000)
    transport.close()


def test_a_large_request_to_lambda_may_take_longer_than_the_timeout(slow, aws, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{slow.server_address[1]}")
    transport = LambdaTransport("lambda:x", SETTINGS)
    assert transport.send(Request("POST", "/v2/x", {}, bytes(4_500_000)), 1000).content.isdigit()
    transport.close()
