"""The tail of one bundle as a service: bodies of requests in, bodies of replies out. HTTP is in `server`."""

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from difflib import get_close_matches

from data.errors import CutNotFound
from inference.admission import Place, Room
from inference.batching import Batcher
from inference.bundle import Bundle
from inference.cuts import Cut
from inference.engines import open_engine
from inference.tails.answer import TailTimes, answer_frame
from inference.tails.worker import Arrived, TailWorker
from inference.wire import Body, Frame, decode_request, encode_response, parse_header_length


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """What `hybrid-batch serve` was told. `max_batch` is in images, `queue` in requests."""

    bundle: Bundle
    engine: str = "openvino"
    max_batch: int = 64
    max_request_bytes: int = 64 << 20
    queue: int = 128


@dataclass(frozen=True, slots=True)
class _Decoded:
    request: Frame
    arrived: Arrived
    decode_us: int


class TailService:
    """Belongs to one event loop; `room` says who may come in."""

    def __init__(self, settings: ServiceSettings) -> None:
        self.settings = settings
        self.bundle = settings.bundle
        self.room = Room(settings.queue)
        self._worker = TailWorker(settings.bundle, open_engine(settings.engine, settings.bundle))
        self._batcher = Batcher(self._worker, settings.max_batch)
        self._decoders = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="decode")

    def find(self, model: str, version: str | None) -> Cut:
        """The cut a request names; without a version the whole model. Raises CutNotFound."""
        if model != self.bundle.name:
            near = get_close_matches(model, [self.bundle.name], 1)
            raise CutNotFound(
                f"No model named {model!r} here{'; did you mean' if near else ', which serves'} "
                f"{self.bundle.name!r} ({self.bundle.sha256[:12]}){'?' if near else '.'}"
            )
        return self.bundle.whole if version is None else self.bundle.cut(version)

    async def prepare(self, cut: Cut) -> None:
        """Compile a cut, so that no request waits for that."""
        await asyncio.get_running_loop().run_in_executor(self._decoders, self._worker.segment, cut)

    async def answer(self, cut: Cut, body: bytes, header_length: str | None, place: Place) -> Body:
        """The reply to a request. Raises BadFrame, OtherBundle, Busy."""
        began = time.perf_counter_ns()
        loop = asyncio.get_running_loop()
        decoded = await loop.run_in_executor(self._decoders, self._decode, cut, body, header_length, place)
        computed = await self._batcher.compute(cut, decoded.arrived.tensors)
        server_us = (time.perf_counter_ns() - began) // 1000
        times = TailTimes(
            decode_us=decoded.decode_us,
            queue_us=max(0, server_us - decoded.decode_us - computed.tail_us),
            tail_us=computed.tail_us,
            server_us=server_us,
        )
        scores = decoded.arrived.spread(computed.scores)
        reply = answer_frame(self.bundle.output, scores, decoded.arrived.errors, times)
        return encode_response(reply, decoded.request, self.bundle.name, cut.id)

    def close(self) -> None:
        """Let go of the threads."""
        self._batcher.close()
        self._decoders.shutdown()

    def _decode(self, cut: Cut, body: bytes, header_length: str | None, place: Place) -> _Decoded:
        began = time.perf_counter_ns()
        request = decode_request(body, parse_header_length(header_length))
        self._worker.check_bundle(request)
        place.hold(self._worker.decoded_bytes(cut, request))
        arrived = self._worker.decode(cut, request)
        return _Decoded(request, arrived, (time.perf_counter_ns() - began) // 1000)
