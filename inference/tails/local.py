"""The tail in this process: frames are encoded and decoded as for any other, so accuracy is that of the codec."""

import time
from typing import Self

from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.runtimes import Engine
from hybrid_batch.inference.protocol.infer_response import Answer, TailTimes, answer_frame
from hybrid_batch.inference.protocol.wire import BINARY_OUTPUT, Frame, encode_request, encode_response
from hybrid_batch.inference.serving.executor import TailWorker


class LocalTail:
    """See Tail."""

    room = None

    def __init__(self, bundle: Bundle, engine: Engine) -> None:
        self._bundle = bundle
        self._worker = TailWorker(bundle, engine)

    def check(self, cut_id: str) -> None:
        """See Tail."""
        self._worker.segment(self._bundle.cut(cut_id))

    def infer(self, cut_id: str, frame: Frame) -> Answer:
        """See Tail."""
        cut = self._bundle.cut(cut_id)
        began = time.perf_counter_ns()
        arrived = self._worker.decode(cut, frame)
        decoded = time.perf_counter_ns()
        scores = arrived.spread(self._worker.run(cut, arrived.tensors))
        done = time.perf_counter_ns()
        times = TailTimes(
            decode_us=(decoded - began) // 1000,
            tail_us=(done - decoded) // 1000,
            server_us=(done - began) // 1000,
        )
        request = encode_request(frame)
        asked = Frame((), parameters={BINARY_OUTPUT: True})
        reply = answer_frame(self._bundle.output, scores, arrived.errors, times)
        received = encode_response(reply, asked, self._bundle.name, cut.id)
        return Answer(scores, arrived.errors, times, request.size, received.size, times.server_us)

    def close(self) -> None:
        """See Tail."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
