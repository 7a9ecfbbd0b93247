"""The tail of one bundle as a service: bodies of requests in, bodies of replies out. HTTP is in `server`."""

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import Cut
from hybrid_batch.inference.model.runtimes import open_engine
from hybrid_batch.inference.protocol.spill import SPILL, Spill, fetch
from hybrid_batch.inference.protocol.transport import Request
from hybrid_batch.inference.protocol.wire import Body
from hybrid_batch.inference.serving import inference_request as asked
from hybrid_batch.inference.serving.executor import TailWorker
from hybrid_batch.inference.serving.http.admission import Place, Room
from hybrid_batch.inference.serving.http.dynamic_batcher import Batcher
from hybrid_batch.inference.serving.inference_request import Asked, Computed
from hybrid_batch.inference.serving.oip import MAX_REQUEST_BYTES


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """What `hybrid-batch serve` was told. `max_batch` is in images, `queue` in requests; `patience_s` is for a client
    in the middle of its request, which keeps a place from others; `spill` an s3:// prefix."""

    bundle: Bundle
    engine: str = "openvino"
    max_batch: int = 64
    max_request_bytes: int = MAX_REQUEST_BYTES
    queue: int = 128
    patience_s: float = 20.0
    spill: str | None = None


class TailService:
    """Belongs to one event loop; `room` says who may come in."""

    def __init__(self, settings: ServiceSettings) -> None:
        self.settings = settings
        self.bundle = settings.bundle
        self.room = Room(settings.queue)
        self.spill = Spill(settings.spill) if settings.spill else None
        self._worker = TailWorker(settings.bundle, open_engine(settings.engine, settings.bundle))
        self._batcher = Batcher(self._worker, settings.max_batch)
        # One of them may be busy with the engine.
        self._threads = ThreadPoolExecutor((os.cpu_count() or 1) + 1, thread_name_prefix="tail")

    async def prepare(self, cut: Cut) -> None:
        """Compile a cut, so that no request waits for that."""
        await asyncio.get_running_loop().run_in_executor(self._threads, self._worker.segment, cut)

    async def fetch(self, lies_at: str, place: Place) -> bytes:
        """The body of a request that lies in S3. Raises BadFrame, StorageFailed, Busy."""
        light, limit = Request("POST", "", {SPILL: lies_at}), max(MAX_REQUEST_BYTES, self.settings.max_request_bytes)
        body = (await asyncio.to_thread(fetch, light, self.spill, limit)).content
        place.hold(len(body))
        return body

    async def answer(self, cut: Cut, body: bytes, header_length: str | None, place: Place) -> Body:
        """The reply to a request. Raises BadFrame, OtherBundle, Busy."""
        began, answered = time.perf_counter_ns(), Future[Body]()
        read = partial(asked.read, self._worker, cut, body, header_length, began_ns=began, hold=place.hold)
        self._threads.submit(self._work, read, answered)
        return await asyncio.wrap_future(answered)

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown()

    def _work(self, read: Callable[[], Asked], answered: Future[Body]) -> None:
        """All between body and body, in one thread where nobody else is in the way."""
        if not answered.set_running_or_notify_cancel():
            return

        def reply(computed: Future[Computed]) -> None:
            try:
                answered.set_result(asked.reply(self.bundle, request, computed.result()))
            except Exception as error:
                answered.set_exception(error)

        try:
            request = read()
        except Exception as error:
            answered.set_exception(error)
            return
        done = Future[Computed]()
        done.add_done_callback(reply)
        self._batcher.compute(request.cut, request.arrived.tensors, done)
