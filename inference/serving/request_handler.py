"""The tail of one bundle without a server: requests in, replies out, for whatever carries them here."""

import json
import re
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import Cut
from hybrid_batch.inference.model.runtimes import Engine
from hybrid_batch.inference.protocol.spill import Spill, fetch, spilled
from hybrid_batch.inference.protocol.transport import Reply, Request
from hybrid_batch.inference.protocol.wire import HEADER_LENGTH
from hybrid_batch.inference.serving import inference_request as asked
from hybrid_batch.inference.serving import oip as protocol
from hybrid_batch.inference.serving.executor import TailWorker
from hybrid_batch.inference.serving.inference_request import Asked

MAX_BATCH = 64
HELD_BYTES = 512 << 20
_ROUTES = [
    (re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", route.path)), route.method, route.verb)
    for route in protocol.ROUTES
]
_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Limits:
    """Of bodies in bytes: what is read at most, and what the metadata tell a client may be sent this way; how many
    images share a call of the engine; and how many bytes of tensors requests may hold together, where there are more
    than one."""

    request_bytes: int = protocol.MAX_REQUEST_BYTES
    sent_bytes: int = protocol.MAX_REQUEST_BYTES
    batch: int = MAX_BATCH
    held_bytes: int = HELD_BYTES


class Endpoint:
    """Answers as `hybrid-batch serve` does; threads may call it at once. A cut is compiled when first asked for.
    Requests whose body lies in `spill` are read from there."""

    def __init__(
        self, bundle: Bundle, engine: Engine, limits: Limits | None = None, spill: Spill | None = None
    ) -> None:
        self.bundle = bundle
        self._engine = engine
        self._limits = limits or Limits()
        self._spill = spill
        self._worker = TailWorker(bundle, engine)

    def prepare(self, cut: Cut) -> None:
        """Compile a cut, so that no request waits for that."""
        self._worker.segment(cut)

    def answer(self, request: Request) -> Reply:
        """The reply to a request; what is wrong with it is a reply as well."""
        return self.answer_all([request])[0]

    def answer_all(self, requests: Sequence[Request]) -> list[Reply]:
        """The replies in the order of the requests; those for one cut are computed together, up to `Limits.batch`
        images and `Limits.held_bytes` at once."""
        replies: dict[int, Reply] = {}
        waiting: dict[str, list[tuple[int, Asked]]] = {}
        held = 0

        def hold(size: int) -> None:
            """Before so much more is decoded: make room for it, if what waits holds too much."""
            nonlocal held
            if held + size > self._limits.held_bytes:
                replies.update(self._compute(waiting))
                held = 0
            held += size

        for number, request in enumerate(requests):
            try:
                found = self._read(request, hold)
            except Exception as error:
                found = refusal(error)
            if isinstance(found, Asked):
                waiting.setdefault(found.cut.id, []).append((number, found))
            else:
                replies[number] = found
        replies |= self._compute(waiting)
        return [replies[number] for number in range(len(requests))]

    def _read(self, request: Request, hold: Callable[[int], None]) -> Asked | Reply:
        began = time.perf_counter_ns()
        verb, names = _route(request)
        if verb == "server":
            return _json(protocol.describe_server())
        if verb in ("live", "ready"):
            return _json({verb: True})
        cut = protocol.find_cut(self.bundle, names["model"], names.get("version"))
        if verb == "model":
            sent_bytes = min(self._limits.sent_bytes, self._limits.request_bytes)
            spill = self._spill.uri if self._spill else None
            return _json(protocol.describe_model(self.bundle, cut, self._engine.name, sent_bytes, spill))
        if verb == "model_ready":
            self.prepare(cut)
            return _json(protocol.describe_ready(self.bundle, cut))
        if request.header("Content-Encoding") not in (None, "identity"):
            raise protocol.compressed()
        if spilled(request) and not request.content:
            request = fetch(request, self._spill, self._limits.request_bytes)
            began = time.perf_counter_ns()  # the way through S3 is the link's
        if len(request.content) > self._limits.request_bytes:
            raise protocol.too_large(len(request.content), self._limits.request_bytes)
        header_length = request.header(HEADER_LENGTH)
        return asked.read(self._worker, cut, request.content, header_length, began_ns=began, hold=hold)

    def _compute(self, waiting: dict[str, list[tuple[int, Asked]]]) -> dict[int, Reply]:
        """Replies by the requests' numbers; nothing waits then."""
        replies: dict[int, Reply] = {}
        for together in waiting.values():
            for part in _batches(together, self._limits.batch):
                replies |= self._computed(part)
        waiting.clear()
        return replies

    def _computed(self, together: Sequence[tuple[int, Asked]]) -> dict[int, Reply]:
        """Replies by the requests' numbers, of one call of the engine."""
        try:
            tensors = [request.arrived.tensors for _, request in together]
            computed = asked.compute(self._worker, together[0][1].cut, tensors)
        except Exception as error:  # whatever the engine raises is a reply, and the next request is none the worse
            return {number: refusal(error) for number, _ in together}
        pairs = zip(together, computed, strict=True)
        return {number: self._reply(request, result) for (number, request), result in pairs}

    def _reply(self, request: Asked, computed: asked.Computed) -> Reply:
        try:
            body = asked.reply(self.bundle, request, computed)
        except Exception as error:
            return refusal(error)
        return Reply(200, body.headers, body.join())


def _route(request: Request) -> tuple[str, dict[str, str]]:
    """The verb of a request, and the model and version its path names. Raises Refused."""
    method = "GET" if request.method == "HEAD" else request.method
    matches = [(match, allowed, verb) for path, allowed, verb in _ROUTES if (match := path.fullmatch(request.path))]
    for match, allowed, verb in matches:
        if method == allowed:
            return verb, {name: unquote(value) for name, value in match.groupdict().items()}
    raise protocol.not_allowed() if matches else protocol.not_found()


def _batches(together: Sequence[tuple[int, Asked]], most: int) -> list[list[tuple[int, Asked]]]:
    """In order, as many as fit into a batch of `most` images; a larger request is alone."""
    parts: list[list[tuple[int, Asked]]] = []
    images = 0
    for item in together:
        batch = item[1].arrived.batch
        if not parts or images + batch > most:
            parts.append([])
            images = 0
        parts[-1].append(item)
        images += batch
    return parts


def refusal(error: Exception) -> Reply:
    if not isinstance(error, protocol.REFUSALS):
        traceback.print_exception(error, file=sys.stderr)
    return _json({"error": protocol.message_of(error)}, protocol.status_of(error), protocol.headers_of(error))


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Reply:  # noqa: ANN401
    content = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    return Reply(status, _JSON | (headers or {}), content)
