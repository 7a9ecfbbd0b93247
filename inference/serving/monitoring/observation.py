"""What is counted and logged of one HTTP request."""

import itertools
import os
import secrets
import time
from contextlib import AbstractContextManager
from http import HTTPStatus

import starlette.requests

from hybrid_batch.inference.protocol.trace_context import TRACEPARENT, find_trace_id
from hybrid_batch.inference.protocol.transport import Reply
from hybrid_batch.inference.serving.monitoring.metric_layout import Refusal, Stage
from hybrid_batch.inference.serving.monitoring.metrics import ServerMetrics
from hybrid_batch.inference.serving.monitoring.request_log import RequestLog, RequestRecord
from hybrid_batch.inference.serving.monitoring.tracing import request_span
from hybrid_batch.inference.serving.oip import Operation
from hybrid_batch.inference.serving.replies import Overloaded

_PROCESS = f"{os.getpid():x}-{secrets.token_hex(4)}"
_numbers = itertools.count(1)


_REASONS = {
    HTTPStatus.BAD_REQUEST: Refusal.MALFORMED,
    HTTPStatus.UNAUTHORIZED: Refusal.UNAUTHORISED,
    HTTPStatus.FORBIDDEN: Refusal.UNAUTHORISED,
    HTTPStatus.NOT_FOUND: Refusal.NOT_FOUND,
    HTTPStatus.METHOD_NOT_ALLOWED: Refusal.NOT_FOUND,
    HTTPStatus.REQUEST_TIMEOUT: Refusal.TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: Refusal.TOO_LARGE,
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: Refusal.TOO_LARGE,
    HTTPStatus.TOO_MANY_REQUESTS: Refusal.RATE,
    HTTPStatus.SERVICE_UNAVAILABLE: Refusal.SHUTDOWN,
    HTTPStatus.INTERNAL_SERVER_ERROR: Refusal.FAILED,
}


class RequestObservation:
    """One request, from its header to the end of its reply. `stages_ms` are the durations of its stages."""

    def __init__(self, metrics: ServerMetrics, log: RequestLog, received: starlette.requests.Request) -> None:
        self.operation: Operation | None = None
        self.stages_ms: dict[str, float] = {}
        self._metrics, self._log, self._received = metrics, log, received
        self._received_bytes = 0
        self._start_ns = time.perf_counter_ns()

    def read(self, content: bytes) -> None:
        """The body is complete."""
        self._received_bytes = len(content)
        duration_ns = time.perf_counter_ns() - self._start_ns
        self.stages_ms[Stage.READ] = duration_ns / 1e6
        self._metrics.observe(Stage.READ, duration_ns / 1e9)

    def span(self, name: str) -> AbstractContextManager[object]:
        """A span of OpenTelemetry, where that is installed."""
        return request_span(name, self._received.headers)

    def finish(self, reply: Reply, error: Exception | None) -> None:
        """Count and log the request after its reply."""
        operation = "unknown" if self.operation is None else self.operation.name.lower()
        metrics, log, status = self._metrics, self._log, int(reply.status)
        metrics.count_request(operation, status, self._received_bytes, len(reply.content))
        reason = _refusal_reason(status, error)
        if reason is not None:
            metrics.refuse(reason)
        if log.wants(status):
            log.request(self._record(operation, reply))

    def _record(self, operation: str, reply: Reply) -> RequestRecord:
        received = self._received
        client = received.client
        return RequestRecord(
            peer=f"{client.host}:{client.port}" if client else "local",
            method=received.method,
            path=str(received.scope["path"]),
            request_id=f"{_PROCESS}-{next(_numbers)}",
            trace_id=find_trace_id(received.headers.get(TRACEPARENT)),
            operation=operation,
            status=int(reply.status),
            received_bytes=self._received_bytes,
            sent_bytes=len(reply.content),
            duration_ms=(time.perf_counter_ns() - self._start_ns) / 1e6,
            stages_ms=self.stages_ms,
        )


def _refusal_reason(status: int, error: Exception | None) -> Refusal | None:
    """Why a request was refused; None for a reply that is no error."""
    if status < HTTPStatus.BAD_REQUEST:
        return None
    if isinstance(error, Overloaded):
        return error.reason
    return _REASONS.get(HTTPStatus(status), Refusal.OTHER)
