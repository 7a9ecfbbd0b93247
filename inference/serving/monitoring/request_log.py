"""The log of a server: errors always, every request if wanted, as text or JSON lines, without bodies and tokens."""

import json
import logging
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Literal, TextIO

from hybrid_batch.data.terminal.escapes import escape_controls, escape_json, write_line

LogFormat = Literal["text", "json"]
_METHOD_CHARACTERS, _PATH_CHARACTERS = 20, 200
_MAX_FAILURES, _WINDOW_S = 10, 10.0


@dataclass(slots=True)
class RequestRecord:
    """What is logged of one request. `path` has no query, which may hold secrets; `stages_ms` are the durations of the
    stages that ran."""

    peer: str
    method: str
    path: str
    request_id: str
    trace_id: str | None = None
    operation: str = "unknown"
    status: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0
    duration_ms: float = 0.0
    stages_ms: dict[str, float] = field(default_factory=dict)


class RequestLog:
    """Writes lines to a stream, by default stderr. Thread-safe. With `every` each request has a line. Tracebacks are
    limited to _MAX_FAILURES in _WINDOW_S, and the others are counted."""

    def __init__(self, form: LogFormat = "text", *, every: bool = False, stream: TextIO | None = None) -> None:
        self.every = every
        self._form = form
        self._stream = stream or sys.stderr
        self._failures = self._suppressed = 0
        self._window_end = 0.0
        self._lock = threading.Lock()

    def message(self, text: str, level: str = "info") -> None:
        """Write a line about the server."""
        self._line(level, "message", {"message": text}, text)

    def wants(self, status: int) -> bool:
        """Whether a request with this status has a line: errors of the server have one, but for a shutdown."""
        return self.every or (status >= 500 and status != HTTPStatus.SERVICE_UNAVAILABLE)

    def request(self, record: RequestRecord) -> None:
        """Write the line of a request; without `every` only of failures, within their limit."""
        record.method, record.path = record.method[:_METHOD_CHARACTERS], record.path[:_PATH_CHARACTERS]
        record.duration_ms = round(record.duration_ms, 3)
        record.stages_ms = {stage: round(duration, 3) for stage, duration in record.stages_ms.items()}
        if self.every or self._admit_failure():
            level = "error" if record.status >= 500 else "info"
            self._line(level, "request", asdict(record), _text(record))

    def failure(self, error: Exception) -> None:
        """Write the traceback of a defect."""
        if self._admit_failure():
            trace = "".join(traceback.format_exception(error))
            self._line("error", "failure", {"error": type(error).__name__, "trace": trace}, trace.rstrip("\n"))

    def _admit_failure(self) -> bool:
        with self._lock:
            now = time.monotonic()
            if now >= self._window_end:
                suppressed, self._suppressed = self._suppressed, 0
                self._failures, self._window_end = 0, now + _WINDOW_S
            else:
                suppressed = 0
            self._failures += 1
            admitted = self._failures <= _MAX_FAILURES
            self._suppressed += not admitted
        if suppressed:
            self.message(f"{suppressed} further errors were not logged.", "error")
        return admitted

    def _line(self, level: str, kind: str, values: Mapping[str, object], text: str) -> None:
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        if self._form == "json":
            text = escape_json(json.dumps({"time": at, "level": level, "kind": kind, **values}))
        elif kind == "request":
            text = f"{at} {text}"
        write_line(self._stream, text)


def _text(record: RequestRecord) -> str:
    """One line; whatever is not printable in the path is escaped."""
    path = record.path.encode("unicode_escape").decode("ascii")
    stages = "".join(f" {stage}={duration}ms" for stage, duration in record.stages_ms.items())
    trace = f" trace={record.trace_id}" if record.trace_id else ""
    return (
        f"{record.peer} {record.request_id} {record.method} {path} {record.status} in={record.received_bytes} "
        f"out={record.sent_bytes} total={record.duration_ms}ms{stages}{trace}"
    )


class JsonFormatter(logging.Formatter):
    """Records of Python's loggers, such as uvicorn's, in the form of the log's other JSON lines."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        values = {"time": at, "level": record.levelname.lower(), "kind": "message", "message": record.getMessage()}
        if record.exc_info:
            values["trace"] = self.formatException(record.exc_info)
        return escape_json(json.dumps(values))


class TextFormatter(logging.Formatter):
    """Records of Python's loggers as text, without control characters."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        return escape_controls(super().format(record))


def uvicorn_logging(form: LogFormat) -> dict[str, Any]:
    """The configuration of logging for a server process."""
    formatters = {"text": {"()": TextFormatter, "format": "%(levelname)s: %(message)s"}, "json": {"()": JsonFormatter}}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"server": formatters[form]},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "server"}},
        "loggers": {"uvicorn": {"handlers": ["stderr"], "level": "WARNING", "propagate": False}},
    }
