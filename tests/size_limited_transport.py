"""A transport with a size limit to a RequestHandler in this process."""

import time
from dataclasses import replace

from hybrid_batch.inference.protocol.transport import Reply, Request, Transport
from hybrid_batch.inference.serving.request_handler import RequestHandler


class SizeLimitedTransport(Transport):
    """Delivers requests of up to `max_bytes`, or of any size, and keeps them in `sent`."""

    name, hint = "the limited transport", "raise the limit"

    def __init__(self, handler: RequestHandler, max_bytes: int | None) -> None:
        self.handler, self.max_bytes, self.sent = handler, max_bytes, []

    def max_content_bytes(self, request: Request) -> int | None:
        return self.max_bytes

    def send(self, request: Request, limit: int) -> Reply:
        self.sent.append(request)
        assert self.max_bytes is None or len(request.content) <= self.max_bytes
        start = time.perf_counter_ns()
        reply = self.handler.handle(request)
        return replace(reply, round_trip_us=(time.perf_counter_ns() - start) // 1000 + 1)

    def close(self) -> None:
        pass
