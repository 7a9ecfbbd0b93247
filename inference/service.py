"""The tail of one bundle as a service: bodies of requests in, bodies of replies out. HTTP is in `server`."""

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from inference import asked
from inference.admission import Place, Room
from inference.batching import Batcher
from inference.bundle import Bundle
from inference.cuts import Cut
from inference.engines import open_engine
from inference.protocol import MAX_REQUEST_BYTES
from inference.tails.worker import TailWorker
from inference.wire import Body


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """What `hybrid-batch serve` was told. `max_batch` is in images, `queue` in requests."""

    bundle: Bundle
    engine: str = "openvino"
    max_batch: int = 64
    max_request_bytes: int = MAX_REQUEST_BYTES
    queue: int = 128


class TailService:
    """Belongs to one event loop; `room` says who may come in."""

    def __init__(self, settings: ServiceSettings) -> None:
        self.settings = settings
        self.bundle = settings.bundle
        self.room = Room(settings.queue)
        self._worker = TailWorker(settings.bundle, open_engine(settings.engine, settings.bundle))
        self._batcher = Batcher(self._worker, settings.max_batch)
        self._decoders = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="decode")

    async def prepare(self, cut: Cut) -> None:
        """Compile a cut, so that no request waits for that."""
        await asyncio.get_running_loop().run_in_executor(self._decoders, self._worker.segment, cut)

    async def answer(self, cut: Cut, body: bytes, header_length: str | None, place: Place) -> Body:
        """The reply to a request. Raises BadFrame, OtherBundle, Busy."""
        began = time.perf_counter_ns()
        read = partial(asked.read, self._worker, cut, body, header_length, began_ns=began, hold=place.hold)
        request = await asyncio.get_running_loop().run_in_executor(self._decoders, read)
        computed = await self._batcher.compute(cut, request.arrived.tensors)
        return asked.reply(self.bundle, request, computed)

    def close(self) -> None:
        """Let go of the threads."""
        self._batcher.close()
        self._decoders.shutdown()
