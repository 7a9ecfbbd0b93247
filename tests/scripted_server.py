"""A server that replies by a script over real sockets, for failures that real servers show too rarely for a test."""

import json
import socketserver
import threading
from dataclasses import dataclass

SILENCE = object()
JSON = "Content-Type: application/json\r\n"


@dataclass(frozen=True)
class ReceivedRequest:
    """A request as it arrived; the names of headers in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class ScriptedServer(socketserver.ThreadingTCPServer):
    """Replies to the n-th request with the n-th reply of the script, and with the last one from then on. A reply is
    bytes, or a function of the path that returns bytes; None closes the connection, SILENCE keeps it open without a
    reply until the server is shut down."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, *replies):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies = list(replies)
        self.paths: list[str] = []
        self.requests: list[ReceivedRequest] = []
        self.connections = 0
        self.lock, self.over = threading.Lock(), threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def shutdown(self):
        self.over.set()
        super().shutdown()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(socketserver.StreamRequestHandler):
    def handle(self):
        with self.server.lock:
            self.server.connections += 1
        while line := self.rfile.readline():
            headers = {}
            while (header := self.rfile.readline()) not in (b"\r\n", b""):
                name, _, value = header.decode().partition(":")
                headers[name.lower()] = value.strip()
            method, path, _ = line.decode().split()
            body = self.rfile.read(int(headers.get("content-length", 0)))
            with self.server.lock:
                self.server.paths.append(path)
                self.server.requests.append(ReceivedRequest(method, path, headers, body))
                turn = min(len(self.server.paths), len(self.server.replies)) - 1
            scripted = self.server.replies[turn]
            if scripted is SILENCE:
                self.server.over.wait()
            if scripted is None or scripted is SILENCE:
                return
            if callable(scripted):
                scripted = scripted(path)
            self.wfile.write(scripted)
            if b"Content-Length" not in scripted.partition(b"\r\n\r\n")[0] or b"cut off" in scripted:
                return


def reply(status, content, headers=""):
    """The bytes of an HTTP response; `headers` are lines that end with CRLF."""
    return f"HTTP/1.1 {status} x\r\n{headers}Content-Length: {len(content)}\r\n\r\n".encode() + content


def error(status, message, headers=""):
    """The bytes of an HTTP response with an error message in JSON."""
    return reply(status, json.dumps({"error": message}).encode(), JSON + headers)
