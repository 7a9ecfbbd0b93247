"""The tail in this process. Frames are encoded and decoded as for any other tail, so that a codec costs the same
accuracy."""

import time
from dataclasses import replace
from typing import Self

from hybrid_batch.data.images.decoding.pixel_budget import RUNNER_BUDGET, PixelBudget
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.runtimes import Runtime
from hybrid_batch.inference.protocol.codecs import list_wire_codecs
from hybrid_batch.inference.protocol.infer_response import InferResponse, ServerTimings, response_frame
from hybrid_batch.inference.protocol.wire import BINARY_OUTPUT, BUNDLE, Frame, encode_request, encode_response
from hybrid_batch.inference.serving.executor import TailExecutor


class LocalTail:
    """See Tail. `sent_bytes` and `received_bytes` of its responses are the sizes of the HTTP bodies that a remote tail
    would have exchanged."""

    max_frame_bytes = None
    codecs = tuple(list_wire_codecs())

    def __init__(self, bundle: Bundle, runtime: Runtime, pixels: PixelBudget = RUNNER_BUDGET) -> None:
        self._bundle = bundle
        self._executor = TailExecutor(bundle, runtime, pixels=pixels)

    def check(self, cut_id: str) -> None:
        """See Tail."""
        self._executor.compile_cut(self._bundle.cut(cut_id))

    def infer(self, cut_id: str, frame: Frame) -> InferResponse:
        """See Tail."""
        cut = self._bundle.cut(cut_id)
        start = time.perf_counter_ns()
        batch = self._executor.decode(cut, frame)
        decoded = time.perf_counter_ns()
        scores = batch.scatter(self._executor.run(cut, batch.tensors))
        computed = time.perf_counter_ns()
        timings = ServerTimings(
            decode_us=(decoded - start) // 1000,
            tail_us=(computed - decoded) // 1000,
            server_us=(computed - start) // 1000,
        )
        sent = encode_request(replace(frame, parameters={**frame.parameters, BUNDLE: self._bundle.sha256}))
        binary_output = Frame((), parameters={BINARY_OUTPUT: True})
        response = response_frame(self._bundle.output, scores, batch.errors, timings)
        received = encode_response(response, binary_output, self._bundle.name, cut.id)
        return InferResponse(scores, batch.errors, timings, sent.size, received.size, timings.server_us)

    def close(self) -> None:
        """See Tail."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
