"""Handles requests of the Open Inference Protocol for one bundle, whatever transport delivers them.

The adapters for HTTP, Lambda and SQS convert events and messages to Requests, and Replies back:

    Request ── oip.parse_target ──┬── describe ──────────────────────► Reply    (metadata, health, readiness)
                                  └── decode ── compute ── encode ───► Reply    (inference)

`handle` and `handle_all` do all of it, and compute the given requests together. The HTTP server calls the steps itself:
it decodes requests in several threads and computes those together that are pending when the runtime becomes free.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus

from hybrid_batch.data.images.decoding.pixel_budget import SERVER_BUDGET, PixelBudget
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import Cut
from hybrid_batch.inference.model.runtimes import Runtime
from hybrid_batch.inference.protocol.codecs.wire_tensors import SERVED_BYTES
from hybrid_batch.inference.protocol.spill import Spill, is_spilled, read_spilled_request
from hybrid_batch.inference.protocol.transport import Reply, Request
from hybrid_batch.inference.protocol.wire import HEADER_LENGTH
from hybrid_batch.inference.serving import oip
from hybrid_batch.inference.serving.executor import TailExecutor
from hybrid_batch.inference.serving.inference_request import (
    InferenceResult,
    PendingRequest,
    StartedRequest,
    compute,
    encode_reply,
    start_request,
)
from hybrid_batch.inference.serving.oip import Operation, RequestTarget
from hybrid_batch.inference.serving.replies import HttpError, error_reply, json_reply
from hybrid_batch.inference.serving.segment_cache import DEFAULT_COMPILED_BYTES
from hybrid_batch.inference.serving.triton_documents import describe_config, describe_index

MAX_BATCH = 64
MAX_DECODED_BYTES = 512 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a RequestHandler: `request_bytes` of a body that is read, `announced_bytes` of a body as the metadata
    report it to clients, `batch` images in one call of the runtime, and `decoded_bytes` of the tensors and replies of
    requests that are computed together. A single request may exceed the last two, with tensors of up to
    `request_decoded_bytes` if it has several images. Compiled tails hold `compiled_bytes`. `pixels` limits image
    files."""

    request_bytes: int = oip.MAX_REQUEST_BYTES
    announced_bytes: int = oip.MAX_REQUEST_BYTES
    batch: int = MAX_BATCH
    decoded_bytes: int = MAX_DECODED_BYTES
    request_decoded_bytes: int = SERVED_BYTES
    compiled_bytes: int | None = DEFAULT_COMPILED_BYTES
    pixels: PixelBudget = SERVER_BUDGET


class RequestHandler:
    """Handles requests for one bundle. Thread-safe. A cut is compiled when it is first used. Bodies too large for the
    transport are read from `spill`, if given. `is_ready` decides the reply to the server's readiness check. Only
    `cuts`, if given, are served, and they are compiled on construction. Raises CutNotFound."""

    def __init__(
        self,
        bundle: Bundle,
        runtime: Runtime,
        limits: Limits | None = None,
        spill: Spill | None = None,
        is_ready: Callable[[], bool] = lambda: True,
        *,
        cuts: Sequence[str] = (),
    ) -> None:
        self.bundle = bundle
        self._limits = limits or Limits()
        self.executor = TailExecutor(bundle, runtime, self._limits.compiled_bytes, self._limits.pixels)
        self._runtime_name = runtime.name
        self._served = tuple(dict.fromkeys(map(bundle.cut, cuts))) or None
        for cut in self._served or ():
            self.compile_cut(cut)
        self._spill = spill
        self._is_ready = is_ready

    @property
    def cuts(self) -> Sequence[Cut]:
        """The served cuts."""
        return self._served or self.bundle.cuts

    def find_cut(self, target: RequestTarget) -> Cut:
        """The served cut that a target names. Raises CutNotFound."""
        return oip.find_cut(self.bundle, target, self._served)

    def compile_cut(self, cut: Cut) -> None:
        """Compile a cut, so that no request waits for it."""
        self.executor.compile_cut(cut)

    def handle(self, request: Request) -> Reply:
        """The reply to a request. Never raises: an error is a reply too."""
        return self.handle_all([request])[0]

    def handle_all(self, requests: Sequence[Request]) -> list[Reply]:
        """The replies to requests, in order. Requests for the same cut are computed together, within the limits."""
        together = _Together(self, self._limits)
        for number, request in enumerate(requests):
            try:
                target = oip.parse_target(request.method, request.path)
                if target.operation is Operation.INFER:
                    together.add(number, self.decode(target, request, reserve=together.make_room))
                else:
                    together.replies[number] = self.describe(target)
            except Exception as error:
                together.replies[number] = error_reply(error)
        replies = together.finish()
        return [replies[number] for number in range(len(requests))]

    def describe(self, target: RequestTarget) -> Reply:
        """The reply to a request that is not an inference request; its content is not read. Raises CutNotFound, and
        HttpError for an operation that needs a server with counters."""
        if target.model is None:
            return self._describe_server(target.operation)
        cut = self.find_cut(self._with_version(target))
        if target.operation is Operation.MODEL_READY:
            self.compile_cut(cut)
            return json_reply(oip.describe_ready(self.bundle, cut))
        if target.operation is Operation.STATISTICS:
            raise _no_counters()
        if target.operation is Operation.MODEL_CONFIG:
            return json_reply(describe_config(self.bundle, cut, self._runtime_name, self._limits.batch))
        announced = min(self._limits.announced_bytes, self._limits.request_bytes)
        spill = self._spill.uri if self._spill else None
        return json_reply(
            oip.describe_model(self.bundle, cut, self._runtime_name, announced, spill=spill, served=self._served)
        )

    def _with_version(self, target: RequestTarget) -> RequestTarget:
        """The target, with the first served cut for metadata that name no version where the whole model is not served:
        clients read there which bundle and which versions this is."""
        if target.version is None and target.operation is Operation.MODEL_METADATA and self._served is not None:
            whole = self.bundle.input_cut
            return replace(target, version=(whole if whole in self._served else self._served[0]).id)
        return target

    def _describe_server(self, operation: Operation) -> Reply:
        match operation:
            case Operation.SERVER_METADATA:
                return json_reply(oip.describe_server())
            case Operation.SERVER_LIVE:
                return json_reply({"live": True})
            case Operation.SERVER_READY:
                ready = self._is_ready()
                return json_reply({"ready": ready}, HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE)
            case Operation.REPOSITORY_INDEX:
                return json_reply(describe_index(self.bundle, self.cuts))
        raise _no_counters()

    def decode(
        self, target: RequestTarget, request: Request, *, reserve: Callable[[int], None] = lambda _: None
    ) -> PendingRequest:
        """Decode an inference request. See `start` for `reserve` and for what is raised."""
        return self.start(target, request, reserve=reserve).finish()

    def start(
        self,
        target: RequestTarget,
        request: Request,
        *,
        received_ns: int | None = None,
        reserve: Callable[[int], None] = lambda _: None,
        check: Callable[[], None] = lambda: None,
    ) -> StartedRequest:
        """Parse an inference request, whose body is read from S3 if it is stored there. `received_ns` is the time by
        `perf_counter_ns` at which the last byte was received, by default now. `reserve` is called with the size of the
        tensors in bytes before they are allocated, `check` before each image file is decoded. Raises CutNotFound,
        HttpError, InvalidFrame, BundleMismatch, StorageFailed, and whatever `reserve` raises."""
        received_ns = received_ns or time.perf_counter_ns()
        cut = self.find_cut(target)
        oip.check_encoding(request.header("Content-Encoding"))
        if is_spilled(request) and not request.content:
            request = self.read_spilled(request)
            received_ns = time.perf_counter_ns()  # the transfer through S3 is time of the link
        if len(request.content) > self._limits.request_bytes:
            raise oip.too_large(len(request.content), self._limits.request_bytes)
        header_length = request.header(HEADER_LENGTH)
        return start_request(
            self.executor,
            cut,
            request.content,
            header_length,
            received_ns=received_ns,
            max_decoded_bytes=self._limits.request_decoded_bytes,
            reserve=reserve,
            check=check,
        )

    def encode(self, pending: PendingRequest, result: InferenceResult) -> Reply:
        """The reply to a computed request. Never raises: an error is a reply too."""
        try:
            body = encode_reply(self.bundle, pending, result)
        except Exception as error:
            return error_reply(error)
        return Reply(HTTPStatus.OK, body.headers, body.join())

    def read_spilled(self, request: Request) -> Request:
        """The request with its body, which is stored in S3. Raises InvalidFrame, StorageFailed."""
        return read_spilled_request(request, self._spill, self._limits.request_bytes)


def _no_counters() -> HttpError:
    return HttpError(HTTPStatus.NOT_FOUND, "This tail keeps no counters; `hybrid-batch serve` does.")


@dataclass(slots=True)
class _Together:
    """Pending requests by cut, and the replies to requests that are done, each with the number of its request."""

    handler: RequestHandler
    limits: Limits
    pending: dict[str, list[tuple[int, PendingRequest]]] = field(default_factory=dict)
    replies: dict[int, Reply] = field(default_factory=dict)
    decoded_bytes: int = 0

    def add(self, number: int, pending: PendingRequest) -> None:
        self.pending.setdefault(pending.cut.id, []).append((number, pending))

    def make_room(self, size: int) -> None:
        """Compute all pending requests if decoding `size` more bytes would exceed the limit."""
        if self.decoded_bytes + size > self.limits.decoded_bytes:
            self.finish()
        self.decoded_bytes += size

    def finish(self) -> dict[int, Reply]:
        """Compute all pending requests. Returns all replies."""
        for same_cut in self.pending.values():
            for batch in _batches(same_cut, self.limits.batch):
                self._compute(batch)
        self.pending.clear()
        self.decoded_bytes = 0
        return self.replies

    def _compute(self, batch: Sequence[tuple[int, PendingRequest]]) -> None:
        """One call of the runtime. If it raises, every request of the batch gets the error as its reply."""
        try:
            tensors = [pending.decoded.tensors for _, pending in batch]
            results = compute(self.handler.executor, batch[0][1].cut, tensors)
        except Exception as error:
            self.replies |= {number: error_reply(error) for number, _ in batch}
            return
        for (number, pending), result in zip(batch, results, strict=True):
            self.replies[number] = self.handler.encode(pending, result)


def _batches(requests: Sequence[tuple[int, PendingRequest]], max_images: int) -> list[list[tuple[int, PendingRequest]]]:
    """Split requests, in order, into batches of at most `max_images`; a request with more is a batch of its own."""
    batches: list[list[tuple[int, PendingRequest]]] = []
    images = 0
    for number, pending in requests:
        size = pending.decoded.size
        if not batches or images + size > max_images:
            batches.append([])
            images = 0
        batches[-1].append((number, pending))
        images += size
    return batches
