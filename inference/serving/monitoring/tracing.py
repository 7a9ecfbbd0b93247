"""Spans of OpenTelemetry for requests, if the user has installed and configured it; otherwise nothing."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module

from hybrid_batch.inference.protocol.trace_context import find_opentelemetry

_NONE: AbstractContextManager[object] = nullcontext()


def request_span(name: str, headers: Mapping[str, str]) -> AbstractContextManager[object]:
    """A span that is a child of the one in the headers, until the end of the block."""
    trace = find_opentelemetry()
    if trace is None:
        return _NONE
    parent = import_module("opentelemetry.propagate").extract({key.lower(): value for key, value in headers.items()})
    tracer = trace.get_tracer("hybrid_batch")
    span: AbstractContextManager[object] = tracer.start_as_current_span(name, parent, kind=trace.SpanKind.SERVER)
    return span
