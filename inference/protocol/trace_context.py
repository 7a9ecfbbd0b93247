"""W3C Trace Context, version 00: the header that ties a request of the runner to the server's log and spans.

https://www.w3.org/TR/trace-context/
"""

import random
import re
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

TRACEPARENT = "traceparent"
_FORM = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_random = random.Random()  # noqa: S311 - ids, not secrets; the system seeds it


def make_traceparent() -> str:
    """The header of a new request: of the current span if the user has configured OpenTelemetry, else a new trace."""
    trace = find_opentelemetry()
    if trace is not None:
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"
    return f"00-{_random.getrandbits(128):032x}-{_random.getrandbits(64):016x}-01"


def find_trace_id(header: str | None) -> str | None:
    """The id of the trace in a header, in hexadecimal; None if the header is absent or invalid, and then ignored."""
    match = _FORM.fullmatch(header or "")
    return match[1] if match else None


def find_opentelemetry() -> Any | None:  # noqa: ANN401 - a module that may be absent
    """The module `opentelemetry.trace` if a program has configured a provider of spans; nothing here requires it."""
    trace = _import_opentelemetry()
    if trace is None or isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return None  # spans would be dropped, after 0.2 ms for each
    return trace


@cache
def _import_opentelemetry() -> Any | None:  # noqa: ANN401
    is_installed = find_spec("opentelemetry") is not None and find_spec("opentelemetry.trace") is not None
    return import_module("opentelemetry.trace") if is_installed else None
