"""Requests whose clients are gone are given up; those of half-closed connections are not."""

import asyncio
import contextlib
import socket
import threading
from concurrent.futures import Future

import numpy as np
import pytest
import uvicorn

from hybrid_batch.inference.serving.executor import TailExecutor
from hybrid_batch.inference.serving.http.admission import AdmissionController
from hybrid_batch.inference.serving.http.connections.connection_limits import ConnectionLimits
from hybrid_batch.inference.serving.http.connections.http_connection import CONNECTION, HttpConnection
from hybrid_batch.inference.serving.http.connections.server_loop import ServerLoop
from hybrid_batch.inference.serving.http.dynamic_batcher import DynamicBatcher
from hybrid_batch.inference.serving.replies import ClientGone
from tests.conftest import HANG_S
from tests.remote.limited_server import read_all, request, status_of

WAITING = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}


class WaitingServer:
    """A server on the event loop of the product in a thread; its requests wait for `reply`."""

    def __init__(self):
        self.started, self.lost, self.reply = threading.Event(), threading.Event(), threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = self._socket.getsockname()
        config = uvicorn.Config(self._app, http=HttpConnection, ws="none", lifespan="off", interface="asgi3")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        loop = ServerLoop(ConnectionLimits(stall_s=0.2))
        loop.run_until_complete(self._server.serve([self._socket]))
        loop.close()

    async def _app(self, scope, receive, send):
        while (await receive())["more_body"]:
            pass
        scope[CONNECTION].on_lost = self.lost.set
        self.started.set()
        while not (self.reply.is_set() or self.lost.is_set()):
            await asyncio.sleep(0.01)
        await send(WAITING)
        await send({"type": "http.response.body", "body": b"ok"})

    def stop(self):
        self.reply.set()
        self._server.should_exit = True
        self._thread.join(HANG_S)


@pytest.fixture
def waiting():
    server = WaitingServer()
    yield server
    server.stop()


@pytest.mark.parametrize(
    "content",
    [
        request(),
        request() + b"G",
        request() + request() * 2000,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        request().replace(b"1.1", b"1.0", 1),
    ],
    ids=["alone", "pipelined-byte", "pipelined-megabytes", "get", "old"],
)
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_a_client_that_closes_cancels_its_request(waiting, content, reset):
    client = socket.create_connection(waiting.address, timeout=HANG_S)
    sender = threading.Thread(target=_send, args=(client, content))
    sender.start()
    assert waiting.started.wait(HANG_S)
    if reset:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    sender.join(HANG_S)
    assert waiting.lost.wait(HANG_S)


def _send(client, content):
    with contextlib.suppress(OSError):
        client.sendall(content)


def test_a_half_closed_client_is_waited_for(waiting):
    with socket.create_connection(waiting.address, timeout=HANG_S) as client:
        client.sendall(request())
        client.shutdown(socket.SHUT_WR)
        assert waiting.started.wait(HANG_S)
        assert client.recv(100).startswith(b"HTTP/1.1 102 "), "the probe"
        assert not waiting.lost.wait(0.5)
        waiting.reply.set()
        assert status_of(read_all(client)) == 200
    assert not waiting.lost.is_set()


def test_an_answered_request_is_not_cancelled(waiting):
    waiting.reply.set()
    with socket.create_connection(waiting.address, timeout=HANG_S) as client:
        client.sendall(request())
        assert status_of(read_all(client, until_reply=True)) == 200
    assert not waiting.lost.wait(0.3)


def test_a_cancelled_permit_raises_in_the_thread_that_asks():
    with AdmissionController(1).admit() as permit:
        permit.check()
        permit.cancel()
        assert permit.cancelled
        with pytest.raises(ClientGone):
            permit.check()


def test_the_batcher_computes_no_request_whose_client_is_gone(bundle, runtime):
    computed = []

    class CountingExecutor(TailExecutor):
        def run(self, cut, tensors):
            computed.append(len(tensors[0]))
            return super().run(cut, tensors)

    batcher = DynamicBatcher(CountingExecutor(bundle, runtime), 8)
    images, gone, wanted = np.zeros((3, 8, 8, 1), np.float32), Future(), Future()

    def check():
        raise ClientGone

    batcher.compute(bundle.input_cut, [images], gone, check)
    batcher.compute(bundle.input_cut, [images[:1]], wanted)
    assert isinstance(gone.exception(HANG_S), ClientGone)
    assert wanted.result(HANG_S).scores.shape == (1, 10)
    assert computed == [1]
