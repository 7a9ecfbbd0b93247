"""What stands around a function on AWS Lambda: the Runtime API, and a process of Lambda's own runtime client.

The process is a bare interpreter: it sees the unpacked package and the client, and nothing that is installed here.
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import importlib.metadata
import json
import queue
import shutil
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

HANDLER = "hybrid_batch.inference.cloud.function.handler.handle"
_CLIENT = ("awslambdaric", "simplejson", "snapshot-restore-py")
_ROOT = "/2018-06-01/runtime/"
# As Lambda's own bootstrap does: the package first, then the client.
_START = "import sys; sys.path[:0] = sys.argv[2:]; from awslambdaric.__main__ import main; main(sys.argv[:2])"


class FunctionFailed(Exception):
    """The function raised, or did not start; the message is what it told the API."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The JSON that the function gave, and when, by `perf_counter`."""

    payload: bytes
    at_s: float

    @property
    def value(self) -> Any:  # noqa: ANN401
        """What the JSON says. Raises FunctionFailed if it says that the function failed."""
        value = json.loads(self.payload)
        if isinstance(value, dict) and "errorMessage" in value:
            raise FunctionFailed(f"{value.get('errorType')}: {value['errorMessage']}")
        return value


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """The process is killed at the end, with a connection open."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class LambdaRuntime:
    """One execution environment: events go in one at a time, and what the function gives comes out."""

    def __init__(self) -> None:
        self._events: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self._answers: queue.Queue[Answered] = queue.Queue()
        self._server = _Server(("127.0.0.1", 0), _handler(self._events, self._answers))
        self._server.daemon_threads = True
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._server.shutdown()
        self._server.server_close()

    def start(self, program: str, paths: list[Path], environment: dict[str, str], handler: str = HANDLER) -> float:
        """Start the function; gives when, by `perf_counter`."""
        host, port = self._server.server_address[:2]
        own = {"AWS_LAMBDA_RUNTIME_API": f"{host!s}:{port}", "_HANDLER": handler, "AWS_LAMBDA_FUNCTION_NAME": "tail"}
        command = [program, "-I", "-S", "-B", "-c", _START, handler, *map(str, paths)]
        began = time.perf_counter()
        self._process = subprocess.Popen(command, env=own | environment, cwd=paths[0])
        return began

    def put(self, event: object) -> None:
        """Bring an event to the function once it asks for one."""
        self._events.put((str(uuid.uuid4()), json.dumps(event).encode()))

    def take(self, timeout_s: float = 60) -> Answered:
        """The next thing the function gives. Raises TimeoutError."""
        try:
            return self._answers.get(timeout=timeout_s)
        except queue.Empty as error:
            raise TimeoutError(f"the function gave nothing for {timeout_s} s") from error

    def invoke(self, event: object) -> Any:  # noqa: ANN401
        """What the function gives for an event. Raises FunctionFailed."""
        self.put(event)
        return self.take().value


def unpack_client(folder: Path) -> Path:
    """Lambda's runtime client, as it is installed here, alone in a folder."""
    for name in _CLIENT:
        for file in importlib.metadata.distribution(name).files or ():
            if "__pycache__" not in file.parts and ".." not in file.parts:
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(file.locate()), folder / file)
    return folder


def bare_python() -> str:
    """The interpreter that the environment of this one was made with."""
    return str(getattr(sys, "_base_executable", sys.executable))


def _handler(
    events: "queue.Queue[tuple[str, bytes]]", answers: "queue.Queue[Answered]"
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1  # head and body in one piece

        def do_GET(self) -> None:
            """`invocation/next` waits for an event."""
            if self.path != f"{_ROOT}invocation/next":
                return self._send(404, b"", {})
            number, event = events.get()
            deadline = str(int((time.time() + 60) * 1000))
            return self._send(
                200,
                event,
                {
                    "Content-Type": "application/json",
                    "Lambda-Runtime-Aws-Request-Id": number,
                    "Lambda-Runtime-Deadline-Ms": deadline,
                    "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:123456789012:function:tail",
                },
            )

        def do_POST(self) -> None:
            """`invocation/ID/response`, `invocation/ID/error`, `init/error`."""
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answers.put(Answered(content, time.perf_counter()))
            self._send(202, b"{}", {})

        def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(content))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    return Handler
