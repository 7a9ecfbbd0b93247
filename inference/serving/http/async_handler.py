"""Runs a RequestHandler on an event loop: admission control, decoding in threads, dynamic batching."""

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.runtimes import open_runtime
from hybrid_batch.inference.protocol.spill import Spill, is_spilled
from hybrid_batch.inference.protocol.transport import Reply, Request
from hybrid_batch.inference.serving.http.admission import AdmissionController, Permit
from hybrid_batch.inference.serving.http.dynamic_batcher import DynamicBatcher
from hybrid_batch.inference.serving.inference_request import InferenceResult, PendingRequest
from hybrid_batch.inference.serving.oip import MAX_REQUEST_BYTES, Operation, RequestTarget, find_cut
from hybrid_batch.inference.serving.replies import error_reply
from hybrid_batch.inference.serving.request_handler import Limits, RequestHandler


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The options of `hybrid-batch serve`: `max_batch` images in one call of the runtime, `max_pending` requests, and
    `spill`, an s3:// prefix. A client that sends nothing for `read_timeout_s` in the middle of a request loses it."""

    bundle: Bundle
    runtime: str = "openvino"
    max_batch: int = 64
    max_request_bytes: int = MAX_REQUEST_BYTES
    max_pending: int = 128
    read_timeout_s: float = 20.0
    spill: str | None = None


class AsyncRequestHandler:
    """Handles requests for one bundle on one event loop. Raises WrongUsage for a bad `spill`, MissingExtra if the
    runtime is not installed."""

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.admission = AdmissionController(settings.max_pending)
        self._handler = RequestHandler(
            settings.bundle,
            open_runtime(settings.runtime, settings.bundle),
            Limits(max(MAX_REQUEST_BYTES, settings.max_request_bytes), settings.max_request_bytes),
            Spill(settings.spill) if settings.spill else None,
            is_ready=lambda: not self.admission.shutting_down,
        )
        self._batcher = DynamicBatcher(self._handler.executor, settings.max_batch)
        # One thread may be in a call of the runtime; the others decode on all processors.
        self._threads = ThreadPoolExecutor((os.cpu_count() or 1) + 1, thread_name_prefix="tail")

    def check(self, target: RequestTarget) -> None:
        """Raises CutNotFound for a target that names an unknown model or cut."""
        find_cut(self.settings.bundle, target)

    async def describe(self, target: RequestTarget) -> Reply:
        """The reply to a request that is not an inference request. Raises CutNotFound."""
        if target.operation is Operation.MODEL_READY:  # which compiles the cut
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._handler.describe, target)
        return self._handler.describe(target)

    async def infer(self, target: RequestTarget, request: Request, permit: Permit) -> Reply:
        """The reply to an inference request. Raises InvalidFrame, StorageFailed, Overloaded."""
        if is_spilled(request) and not request.content:
            request = await asyncio.to_thread(self._handler.read_spilled, request)
            permit.reserve(len(request.content))
        decode = partial(
            self._handler.decode, target, request, received_ns=time.perf_counter_ns(), reserve=permit.reserve
        )
        replied = Future[Reply]()
        self._threads.submit(self._infer, decode, replied)
        return await asyncio.wrap_future(replied)

    def close(self) -> None:
        """Stop the threads when their requests are done."""
        self._threads.shutdown()

    def _infer(self, decode: Callable[[], PendingRequest], replied: Future[Reply]) -> None:
        """Decode, compute and encode in one thread; if the runtime is busy, another thread computes and encodes."""
        if not replied.set_running_or_notify_cancel():
            return
        try:
            pending = decode()
        except Exception as error:
            replied.set_result(error_reply(error))
            return

        def encode(computed: Future[InferenceResult]) -> None:
            try:
                replied.set_result(self._handler.encode(pending, computed.result()))
            except Exception as error:
                replied.set_result(error_reply(error))

        computed = Future[InferenceResult]()
        computed.add_done_callback(encode)
        self._batcher.compute(pending.cut, pending.decoded.tensors, computed)
