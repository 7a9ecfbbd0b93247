"""A way to a tail that lets few bytes pass."""

import time
from dataclasses import replace

from hybrid_batch.inference.protocol.transport import Exchange, Reply, Request
from hybrid_batch.inference.serving.request_handler import Endpoint


class Narrow(Exchange):
    """The real endpoint behind a way that lets so many bytes pass, and tells what came along it."""

    name, advice = "the narrow way", "widen it"

    def __init__(self, endpoint: Endpoint, room: int | None) -> None:
        self.endpoint, self.width, self.passed = endpoint, room, []

    def room(self, request: Request) -> int | None:
        return self.width

    def ask(self, request: Request, limit: int) -> Reply:
        self.passed.append(request)
        assert self.width is None or len(request.content) <= self.width
        began = time.perf_counter_ns()
        reply = self.endpoint.answer(request)
        return replace(reply, took_us=(time.perf_counter_ns() - began) // 1000 + 1)

    def close(self) -> None:
        pass
