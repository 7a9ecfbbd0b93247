"""A server with the limits that a test gives it, in a process of its own, and raw connections to it."""

import json
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.conftest import HANG_S

ROOT = Path(__file__).parent.parent.parent
INFER = "/v2/models/digits/versions/c000/infer"
BODY = json.dumps(
    {"inputs": [{"name": "image:0", "datatype": "FP32", "shape": [1, 8, 8, 1], "data": [0.0] * 64}]}
).encode()
_CODE = """
import sys
from hybrid_batch.inference.model.importing.resolve_model import resolve_model
from hybrid_batch.inference.serving.http.access.access_settings import *
from hybrid_batch.inference.serving.http.async_handler import ServerSettings
from hybrid_batch.inference.serving.http.connections.connection_limits import ConnectionLimits
from hybrid_batch.inference.serving.http.launch import serve
settings = eval(sys.argv[1])
serve(settings, "127.0.0.1", 0, int(sys.argv[2]), lambda url: print(url, flush=True))
"""


class LimitedServer:
    """A ready server; what it prints on stderr goes to a file."""

    def __init__(
        self, settings: str = "", *, model: str = "digits", processes: int = 1, descriptors: int | None = None
    ):
        def limit():
            if descriptors is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

        self._clients: list[socket.socket] = []
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by stop
        expression = f"ServerSettings(resolve_model({model!r}), {settings})"
        self.process = subprocess.Popen(
            [sys.executable, "-c", _CODE, expression, str(processes)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            preexec_fn=limit,  # noqa: PLW1509 - only the limit of the child
        )
        self.url = self.process.stdout.readline().strip()
        if not self.url:
            raise RuntimeError(f"the server did not start: {self.log()}")
        host, _, port = self.url.rpartition("//")[2].rpartition(":")
        self.address = host, int(port)

    def log(self) -> str:
        """What it has printed on stderr."""
        self._log.seek(0)
        return self._log.read()

    def rss(self) -> int:
        """Resident bytes of all its processes."""
        parent = psutil.Process(self.process.pid)
        return max(one.memory_info().rss for one in [parent, *parent.children(recursive=True)])

    def cpu_s(self) -> float:
        """Processor time of its first process."""
        times = psutil.Process(self.process.pid).cpu_times()
        return times.user + times.system

    def connect(self) -> socket.socket:
        """A connection to it, which `stop` closes if the test does not."""
        client = socket.create_connection(self.address, timeout=HANG_S)
        self._clients.append(client)
        return client

    def infer(self) -> tuple[int, float]:
        """The status of an honest request on a connection of its own, and the seconds it took."""
        start = time.monotonic()
        with self.connect() as client:
            client.sendall(request())
            return status_of(read_all(client, until_reply=True)), time.monotonic() - start

    def close_clients(self) -> None:
        """Close all connections."""
        for client in self._clients:
            client.close()

    def stop(self) -> int:
        """The exit code after SIGTERM."""
        if self.process.returncode is not None:
            return self.process.returncode
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(HANG_S)
        finally:
            self.process.kill()
            self.close_clients()
            self.process.stdout.close()
            self._log.close()


@contextmanager
def limited_server(settings: str = "", **options):
    """A LimitedServer until the end of the block; `settings` are arguments of ServerSettings."""
    server = LimitedServer(settings, **options)
    try:
        yield server
    finally:
        server.close_clients()
        server.stop()


def request(body: bytes = BODY, *headers: str, path: str = INFER) -> bytes:
    """An inference request."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def read_all(client: socket.socket, *, until_reply: bool = False) -> bytes:
    """What a server sends until it closes, or with `until_reply` one reply with its content."""
    received = b""
    while not (until_reply and _is_complete(received)):
        try:
            piece = client.recv(1 << 16)
        except ConnectionResetError:
            break
        if not piece:
            break
        received += piece
    return received


def status_of(reply: bytes) -> int:
    """The status of the last reply that is not informational; 0 if there is none."""
    while reply.startswith(b"HTTP/1.1 1"):
        reply = reply.partition(b"\r\n\r\n")[2]
    return int(reply.split(b" ", 2)[1]) if reply.startswith(b"HTTP/1.1 ") else 0


def _is_complete(received: bytes) -> bool:
    while received.startswith(b"HTTP/1.1 1"):
        received = received.partition(b"\r\n\r\n")[2]
    head, end, content = received.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return bool(end) and (not lengths or len(content) >= int(lengths[0].partition(b":")[2]))
