"""Requests that take longer to send than it may take to connect: what comes late is no silence while it comes."""

import json
import socket
import socketserver
import threading
import time

import pytest

from hybrid_batch.inference.protocol.transport import NoAnswer, Request
from hybrid_batch.inference.tails.aws_lambda import LambdaExchange
from hybrid_batch.inference.tails.http import HttpExchange
from hybrid_batch.inference.tails.retry_policy import Patience
from hybrid_batch.inference.tails.settings import TailSettings

BYTES, ONE_READ = 12_000_000, 1 << 16
PATIENCE = TailSettings(patience=Patience(connect_s=0.3, answer_s=6, attempts=1))


class Slow(socketserver.StreamRequestHandler):
    """Takes a request in gulps, with some rest before each, and says how large it was; or takes nothing at all."""

    rbufsize = 0

    def handle(self):
        while line := self.rfile.readline():
            length = 0
            while line != b"\r\n":
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
                line = self.rfile.readline()
            if self.server.stands_still:
                self.server.over.wait()
                return
            left = length
            while left:
                time.sleep(self.server.rest_s)
                end = max(0, left - BYTES // 4)
                while left > end:
                    left -= len(self.connection.recv(min(left - end, ONE_READ)))
            body = json.dumps({"statusCode": 200, "headers": {}, "body": str(length)}).encode()
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


@pytest.fixture
def slow():
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Slow, bind_and_activate=False)
    server.daemon_threads, server.rest_s, server.stands_still, server.over = True, 1.6, False, threading.Event()
    server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ONE_READ)
    server.server_bind()
    server.server_activate()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("sizes", [(BYTES,), (10, BYTES)], ids=["a new connection", "one that was kept"])
def test_a_large_request_has_its_time(slow, sizes):
    exchange = HttpExchange(f"http://127.0.0.1:{slow.server_address[1]}", PATIENCE)
    for content in map(bytes, sizes):
        reply = exchange.ask(Request("POST", "/v2/x", {}, content), 1000)
        assert json.loads(reply.content)["body"] == str(len(content))
    assert reply.took_us > 6_000_000  # more than either patience
    exchange.close()


def test_a_link_that_stands_still_is_told(slow):
    slow.stands_still = True
    exchange = HttpExchange(f"http://127.0.0.1:{slow.server_address[1]}", PATIENCE)
    with pytest.raises(NoAnswer, match="timed out"):
        exchange.ask(Request("POST", "/v2/x", {}, bytes(BYTES)), 1000)
    exchange.close()


def test_a_large_request_to_lambda_has_its_time(slow, aws, monkeypatch):
    slow.rest_s = 6
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{slow.server_address[1]}")
    exchange = LambdaExchange("lambda:x", TailSettings())
    assert exchange.ask(Request("POST", "/v2/x", {}, bytes(4_500_000)), 1000).content.isdigit()
    exchange.close()
