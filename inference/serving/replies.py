"""Replies in JSON, and the HTTP status, message and headers of every error."""

import json
import sys
import traceback
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from hybrid_batch.data.errors import BundleMismatch, CutNotFound, HybridBatchError, InvalidFrame
from hybrid_batch.data.terminal.escapes import write_line
from hybrid_batch.inference.protocol.transport import Reply
from hybrid_batch.inference.serving.monitoring.metric_layout import Refusal


class HttpError(Exception):
    """A request is rejected with this status, message and headers."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})


class Overloaded(Exception):
    """A server has as many pending requests, bytes in them, or compilations as it admits; a retry may succeed."""

    def __init__(self, message: str, reason: Refusal = Refusal.PENDING, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after_s = retry_after_s


class ClientGone(Exception):
    """The connection of a request is lost: its work is given up, and its reply reaches nobody."""


class ShuttingDown(Exception):
    """A process is shutting down: running requests finish, new ones are rejected."""


_STATUS: dict[type[Exception], HTTPStatus] = {
    InvalidFrame: HTTPStatus.BAD_REQUEST,
    CutNotFound: HTTPStatus.NOT_FOUND,
    BundleMismatch: HTTPStatus.CONFLICT,
    Overloaded: HTTPStatus.TOO_MANY_REQUESTS,
    ShuttingDown: HTTPStatus.SERVICE_UNAVAILABLE,
    ClientGone: HTTPStatus.BAD_REQUEST,
    HybridBatchError: HTTPStatus.INTERNAL_SERVER_ERROR,
}
_RETRY_LATER = {"Retry-After": "1"}


def json_reply(value: Any, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Reply:  # noqa: ANN401 - any JSON value
    """A reply whose content is a JSON document."""
    content = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    return Reply(status, {"Content-Type": "application/json", **(headers or {})}, content)


def print_traceback(error: Exception) -> None:
    """Print the traceback of a defect on stderr."""
    write_line(sys.stderr, "".join(traceback.format_exception(error)).rstrip())


def error_reply(error: Exception, report: Callable[[Exception], None] = print_traceback) -> Reply:
    """The reply to a request that failed. An unexpected exception is a status 500 and goes to `report`."""
    if isinstance(error, HttpError):
        return json_reply({"error": str(error)}, error.status, error.headers)
    status = next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), None)
    if status is None:
        report(error)
        message = f"The server failed: {type(error).__name__}: {error}"
        return json_reply({"error": message}, HTTPStatus.INTERNAL_SERVER_ERROR)
    headers = _RETRY_LATER if isinstance(error, ShuttingDown) else None
    if isinstance(error, Overloaded):
        headers = {"Retry-After": str(error.retry_after_s)}
    return json_reply({"error": str(error)}, status, headers)
