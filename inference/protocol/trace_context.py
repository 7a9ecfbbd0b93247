"""W3C Trace Context, version 00: the header that ties a request of the runner to the server's log and spans.

https://www.w3.org/TR/trace-context/
"""

import random
import re
from dataclasses import dataclass

TRACEPARENT = "traceparent"
_FORM = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_SAMPLED = "01"
_random = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class TraceContext:
    """The trace of a request and the span that sent it, in hexadecimal."""

    trace_id: str
    span_id: str
    flags: str = _SAMPLED

    @property
    def header(self) -> str:
        """The value of the header `traceparent`."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"

    def child(self) -> "TraceContext":
        """A new span of the same trace."""
        return TraceContext(self.trace_id, _hex(8), self.flags)


def new_trace() -> TraceContext:
    """A new trace with its first span."""
    return TraceContext(_hex(16), _hex(8))


def parse_trace(header: str | None) -> TraceContext | None:
    """The context of a header; None if it is absent or invalid, as the specification requires to ignore it then."""
    match = _FORM.fullmatch(header or "")
    if match is None or set(match[1]) == {"0"} or set(match[2]) == {"0"}:
        return None
    return TraceContext(*match.groups())


def _hex(size: int) -> str:
    """Random bytes, not all zero, in hexadecimal."""
    return f"{_random.getrandbits(8 * size) or 1:0{2 * size}x}"
