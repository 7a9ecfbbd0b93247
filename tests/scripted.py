"""A server that answers by a script, over real sockets: for what real servers do only on their bad days."""

import json
import socketserver
import threading
from dataclasses import dataclass

SILENCE = object()
JSON = "Content-Type: application/json\r\n"


@dataclass(frozen=True)
class Asked:
    """A request as it came; names of headers in small letters."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Script(socketserver.ThreadingTCPServer):
    """Answers the n-th request as the n-th behaviour says, and the last one for ever; SILENCE answers nothing until the
    server is shut down."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, *behaviours):
        super().__init__(("127.0.0.1", 0), _Player)
        self.behaviours = list(behaviours)
        self.asked: list[str] = []  # the paths
        self.requests: list[Asked] = []
        self.connections = 0
        self.lock, self.over = threading.Lock(), threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def shutdown(self):
        self.over.set()
        super().shutdown()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Player(socketserver.StreamRequestHandler):
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
                self.server.asked.append(path)
                self.server.requests.append(Asked(method, path, headers, body))
                turn = min(len(self.server.asked), len(self.server.behaviours)) - 1
            reply = self.server.behaviours[turn]
            if reply is SILENCE:
                self.server.over.wait()
            if reply is None or reply is SILENCE:
                return
            if callable(reply):
                reply = reply(path)
            self.wfile.write(reply)
            if b"Content-Length" not in reply.partition(b"\r\n\r\n")[0] or b"cut off" in reply:
                return


def reply(status, content, headers=""):
    return f"HTTP/1.1 {status} x\r\n{headers}Content-Length: {len(content)}\r\n\r\n".encode() + content


def error(status, message, headers=""):
    return reply(status, json.dumps({"error": message}).encode(), JSON + headers)
