"""An execution environment of AWS Lambda: the Runtime API, and a process with Lambda's own runtime client.

The process is a bare interpreter that finds the unpacked package and the client, but no installed libraries.
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
# The order of Lambda's own bootstrap: the package, then the client.
_START = "import sys; sys.path[:0] = sys.argv[2:]; from awslambdaric.__main__ import main; main(sys.argv[:2])"


class FunctionFailed(Exception):
    """The function raised an error or did not start; the message is that of its report to the API."""


@dataclass(frozen=True, slots=True)
class FunctionResponse:
    """The function's response in JSON, and its time by `perf_counter`."""

    payload: bytes
    at_s: float

    @property
    def value(self) -> Any:  # noqa: ANN401
        """The decoded JSON. Raises FunctionFailed if it is an error."""
        value = json.loads(self.payload)
        if isinstance(value, dict) and "errorMessage" in value:
            raise FunctionFailed(f"{value.get('errorType')}: {value['errorMessage']}")
        return value


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore connection errors, because the process is killed with an open connection."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class LambdaRuntime:
    """One execution environment, which handles one event at a time."""

    def __init__(self) -> None:
        self._events: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self._responses: queue.Queue[FunctionResponse] = queue.Queue()
        self._server = _Server(("127.0.0.1", 0), _handler(self._events, self._responses))
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
        """Start the function and return the start time by `perf_counter`."""
        host, port = self._server.server_address[:2]
        own = {"AWS_LAMBDA_RUNTIME_API": f"{host!s}:{port}", "_HANDLER": handler, "AWS_LAMBDA_FUNCTION_NAME": "tail"}
        command = [program, "-I", "-S", "-B", "-c", _START, handler, *map(str, paths)]
        began = time.perf_counter()
        self._process = subprocess.Popen(command, env=own | environment, cwd=paths[0])
        return began

    def send_event(self, event: object) -> None:
        """Queue an event for the function."""
        self._events.put((str(uuid.uuid4()), json.dumps(event).encode()))

    def receive_response(self, timeout_s: float = 60) -> FunctionResponse:
        """Return the next response of the function. Raises TimeoutError."""
        try:
            return self._responses.get(timeout=timeout_s)
        except queue.Empty as error:
            raise TimeoutError(f"the function sent no response for {timeout_s} s") from error

    def invoke(self, event: object) -> Any:  # noqa: ANN401
        """Return the decoded response of the function to an event. Raises FunctionFailed."""
        self.send_event(event)
        return self.receive_response().value


def unpack_client(folder: Path) -> Path:
    """Copy the installed runtime client of Lambda into a folder."""
    for name in _CLIENT:
        for file in importlib.metadata.distribution(name).files or ():
            if "__pycache__" not in file.parts and ".." not in file.parts:
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(file.locate()), folder / file)
    return folder


def bare_python() -> str:
    """Return the base interpreter of the running virtual environment."""
    return str(getattr(sys, "_base_executable", sys.executable))


def _handler(
    events: "queue.Queue[tuple[str, bytes]]", responses: "queue.Queue[FunctionResponse]"
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1  # head and body in one piece

        def do_GET(self) -> None:
            """Serve `invocation/next`: wait for an event."""
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
            """Serve `invocation/ID/response`, `invocation/ID/error` and `init/error`."""
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            responses.put(FunctionResponse(content, time.perf_counter()))
            self._send(202, b"{}", {})

        def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(content))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    return Handler
