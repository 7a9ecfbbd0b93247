"""Runs a RequestHandler on an event loop: admission control, decoding in threads, dynamic batching."""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

from hybrid_batch.data.images.decoding.decoding_queue import DecodingQueue
from hybrid_batch.data.images.decoding.pixel_budget import SERVER_BUDGET, DecodingCost, PixelBudget
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.runtimes import open_runtime
from hybrid_batch.inference.protocol.codecs.wire_tensors import SERVED_BYTES
from hybrid_batch.inference.protocol.spill import Spill, is_spilled
from hybrid_batch.inference.protocol.transport import Reply, Request
from hybrid_batch.inference.protocol.wire import wants_json
from hybrid_batch.inference.serving.http.access.access_settings import AccessSettings
from hybrid_batch.inference.serving.http.admission import AdmissionController, Permit
from hybrid_batch.inference.serving.http.compile_queue import CompileQueue
from hybrid_batch.inference.serving.http.connections.connection_limits import ConnectionLimits
from hybrid_batch.inference.serving.http.dynamic_batcher import DynamicBatcher
from hybrid_batch.inference.serving.inference_request import (
    InferenceResult,
    PendingRequest,
    StartedRequest,
)
from hybrid_batch.inference.serving.monitoring.metric_documents import MetricDocuments
from hybrid_batch.inference.serving.monitoring.metric_layout import Stage
from hybrid_batch.inference.serving.monitoring.metrics import InferenceTimes, ServerMetrics
from hybrid_batch.inference.serving.monitoring.request_log import LogFormat, RequestLog
from hybrid_batch.inference.serving.oip import MAX_REQUEST_BYTES, Operation, RequestTarget
from hybrid_batch.inference.serving.request_handler import Limits, RequestHandler
from hybrid_batch.inference.serving.segment_cache import DEFAULT_COMPILED_BYTES

_COMPILED_AT_ONCE_NS = 1_000_000
_WORK_AT_ONCE = 4_000_000  # pixels of a request that are decoded in the thread that parsed it, about 20 ms
_SCORES_AT_ONCE = 10_000  # that are encoded as JSON in the thread that computed them, about 10 ms


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The options of `hybrid-batch serve`: `max_batch` images in one call of the runtime, `max_pending` requests, and
    `spill`, an s3:// prefix. A client that sends nothing for `read_timeout_s` in the middle of a request loses it. Only
    `cuts`, if given, are served. `counters_path` is a file in which the processes of one server count. `pixels` limits
    image files."""

    bundle: Bundle
    runtime: str = "openvino"
    max_batch: int = 64
    max_request_bytes: int = MAX_REQUEST_BYTES
    max_pending: int = 128
    read_timeout_s: float = 20.0
    spill: str | None = None
    cuts: tuple[str, ...] = ()
    max_compiled_bytes: int = DEFAULT_COMPILED_BYTES
    counters_path: str | None = None
    pixels: PixelBudget = SERVER_BUDGET
    log_format: LogFormat = "text"
    access_log: bool = False
    connections: ConnectionLimits = field(default_factory=ConnectionLimits)
    access: AccessSettings = field(default_factory=AccessSettings)


class AsyncRequestHandler:
    """Handles requests for one bundle on one event loop. Raises WrongUsage for a bad `spill`, MissingExtra if the
    runtime is not installed, CutNotFound."""

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.metrics = ServerMetrics([cut.id for cut in settings.bundle.cuts], settings.counters_path)
        self.log = RequestLog(settings.log_format, every=settings.access_log)
        self.admission = AdmissionController(settings.max_pending, observe=self.metrics.set_load)
        self._handler = RequestHandler(
            settings.bundle,
            open_runtime(settings.runtime, settings.bundle),
            Limits(
                max(MAX_REQUEST_BYTES, settings.max_request_bytes),
                settings.max_request_bytes,
                settings.max_batch,
                request_decoded_bytes=max(SERVED_BYTES, settings.max_request_bytes),
                compiled_bytes=settings.max_compiled_bytes,
                pixels=settings.pixels,
            ),
            Spill(settings.spill) if settings.spill else None,
            self._is_ready,
            cuts=settings.cuts,
        )
        segments = self._handler.executor.segments
        segments.observe = self.metrics.set_compiled
        self.metrics.set_compiled(segments.state)
        self._compilations = CompileQueue(segments, self._handler.executor.warm_up)
        self._documents = MetricDocuments(settings.bundle.name, self.metrics)
        self._batcher = DynamicBatcher(self._handler.executor, settings.max_batch)
        self._decoding = DecodingQueue(settings.pixels.image_bytes)
        # One thread may be in a call of the runtime; the others decode on all processors.
        self._threads = ThreadPoolExecutor((os.cpu_count() or 1) + 1, thread_name_prefix="tail")

    def check(self, target: RequestTarget) -> None:
        """Raises CutNotFound for a target that names an unknown model, or a cut that is not served."""
        self._handler.find_cut(target)

    async def describe(self, target: RequestTarget, accept: str | None = None) -> Reply:
        """The reply to a request that is not an inference request. `accept` is the header of that name. Raises
        CutNotFound, Overloaded."""
        match target.operation:
            case Operation.METRICS:
                return await self._documents.prometheus(accept)
            case Operation.STATISTICS:
                cuts = self._handler.cuts if target.version is None else [self._handler.find_cut(target)]
                self._handler.find_cut(replace(target, version=cuts[0].id))
                return self._documents.statistics(cuts)
            case Operation.MODEL_READY:  # which compiles the cut
                with await self._compilations.lease(self._handler.find_cut(target), is_check=True):
                    return self._handler.describe(target)
            case Operation.MODEL_METADATA if self._is_statistics(target):
                return self._documents.statistics(self._handler.cuts)
        return self._handler.describe(target)

    def _is_statistics(self, target: RequestTarget) -> bool:
        """Whether this is Triton's path of the statistics of all models, which looks as a model of that name."""
        return target == RequestTarget(Operation.MODEL_METADATA, "stats") and self.settings.bundle.name != "stats"

    async def infer(
        self, target: RequestTarget, request: Request, permit: Permit, stages_ms: dict[str, float] | None = None
    ) -> Reply:
        """The reply to an inference request. The durations of its stages are added to `stages_ms`. Raises InvalidFrame,
        StorageFailed, Overloaded, and other errors of one request."""
        cut = self._handler.find_cut(target)
        stages_ms = {} if stages_ms is None else stages_ms
        received_ns = time.perf_counter_ns()
        try:
            if is_spilled(request) and not request.content:
                request = await asyncio.to_thread(self._handler.read_spilled, request)
                permit.reserve(len(request.content))
                received_ns = time.perf_counter_ns()
            lease = await self._compilations.lease(cut)
            compiled_ns = time.perf_counter_ns()
            if compiled_ns - received_ns > _COMPILED_AT_ONCE_NS:
                self.metrics.observe(Stage.COMPILE, (compiled_ns - received_ns) / 1e9)
                stages_ms[Stage.COMPILE] = (compiled_ns - received_ns) / 1e6
            replied = Future[Reply]()
            replied.add_done_callback(lambda _: lease.release())
            start = partial(
                self._handler.start,
                target,
                request,
                received_ns=received_ns,
                reserve=permit.reserve,
                check=permit.check,
            )
            self._threads.submit(self._infer, start, permit.check, replied, stages_ms)
            return await asyncio.wrap_future(replied)
        except Exception:
            self.metrics.count_failure(cut.id, (time.perf_counter_ns() - received_ns) / 1e9)
            raise

    def close(self) -> None:
        """Stop the threads when their requests are done."""
        self._decoding.close()
        self._threads.shutdown()
        self._compilations.close()

    def _is_ready(self) -> bool:
        return not self.admission.is_saturated and not self.admission.shutting_down

    def _infer(
        self,
        start: Callable[[], StartedRequest],
        check: Callable[[], None],
        replied: Future[Reply],
        stages_ms: dict[str, float],
    ) -> None:
        """Decode, compute and encode in one thread; if the runtime is busy, another thread computes and encodes. What
        takes longer is decoded by the threads for that, and encoded by another thread while the runtime computes what
        is next. `check` raises once the client is gone."""
        if not replied.set_running_or_notify_cancel():
            return
        try:
            check()
            started = start()
            steps, cost, work = started.decode_steps(), None, 0
            while (cost := next(steps, None)) is not None and work + cost.work <= _WORK_AT_ONCE:
                work += cost.work
            if cost is not None:
                self._decoding.add(cost, self._decode_rest(started, steps, check, replied, stages_ms))
                return
            pending = started.finish()
        except Exception as error:
            replied.set_exception(error)
            return
        self._compute(pending, check, replied, stages_ms)

    def _decode_rest(
        self,
        started: StartedRequest,
        steps: Iterator[DecodingCost],
        check: Callable[[], None],
        replied: Future[Reply],
        stages_ms: dict[str, float],
    ) -> Iterator[DecodingCost]:
        """Decode the rest step by step, and have the request computed."""
        try:
            yield from steps
            self._threads.submit(self._compute, started.finish(), check, replied, stages_ms)
        except Exception as error:
            replied.set_exception(error)

    def _compute(
        self,
        pending: PendingRequest,
        check: Callable[[], None],
        replied: Future[Reply],
        stages_ms: dict[str, float],
    ) -> None:
        def encode(computed: Future[InferenceResult]) -> None:
            try:
                replied.set_result(self._encode(pending, computed.result(), stages_ms))
            except Exception as error:
                replied.set_exception(error)

        def encode_elsewhere(computed: Future[InferenceResult]) -> None:
            try:
                self._threads.submit(encode, computed)
            except RuntimeError:  # the server is being closed
                encode(computed)

        computed = Future[InferenceResult]()
        scores = len(pending.decoded.errors) * self.settings.bundle.output.elements
        is_long = scores > _SCORES_AT_ONCE and wants_json(pending.frame)
        computed.add_done_callback(encode_elsewhere if is_long else encode)
        self._batcher.compute(pending.cut, pending.decoded.tensors, computed, check)

    def _encode(self, pending: PendingRequest, result: InferenceResult, stages_ms: dict[str, float]) -> Reply:
        start_ns = time.perf_counter_ns()
        reply = self._handler.encode(pending, result)
        end_ns = time.perf_counter_ns()
        decode_s, compute_s = pending.decode_us / 1e6, result.tail_us / 1e6
        queue_s = max(0.0, (start_ns - pending.received_ns) / 1e9 - decode_s - compute_s)
        times = InferenceTimes(pending.decoded.size, decode_s, queue_s, compute_s, (end_ns - start_ns) / 1e9)
        self.metrics.count_inference(pending.cut.id, times, (end_ns - pending.received_ns) / 1e9)
        stages_ms |= times.milliseconds()
        return reply
