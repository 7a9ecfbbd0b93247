"""The steps of an inference request: parse and decode its body, compute scores, encode the reply's body."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hybrid_batch.data.images.decoding.image_batch import ImageBatch
from hybrid_batch.data.images.decoding.pixel_budget import DecodingCost
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import Cut
from hybrid_batch.inference.protocol import wire
from hybrid_batch.inference.protocol.codecs import wire_tensors
from hybrid_batch.inference.protocol.codecs.wire_tensors import FrameCost
from hybrid_batch.inference.protocol.infer_response import ServerTimings, response_frame
from hybrid_batch.inference.serving import oip
from hybrid_batch.inference.serving.executor import DecodedBatch, TailExecutor

# For one score: its float, its text of up to 22 characters in pieces and joined, or its bytes and their copy.
_JSON_SCORE_BYTES, _BINARY_SCORE_BYTES = 64, 12


@dataclass(frozen=True, slots=True)
class PendingRequest:
    """A decoded request that waits for the runtime. `received_ns` is the time by `perf_counter_ns` at which its last
    byte was received, `decode_us` the duration of decoding."""

    cut: Cut
    frame: wire.Frame
    decoded: DecodedBatch
    received_ns: int
    decode_us: int


@dataclass(frozen=True, slots=True)
class InferenceResult:
    """The scores of one request, float32 (size, *output shape), and the duration of the runtime call that computed
    them, perhaps together with the scores of other requests."""

    scores: np.ndarray
    tail_us: int


@dataclass(slots=True)
class StartedRequest:
    """A request whose body is parsed. `images` are its image files, if it has any, not decoded yet."""

    executor: TailExecutor
    cut: Cut
    frame: wire.Frame
    images: ImageBatch | None
    cost: FrameCost
    received_ns: int
    decode_ns: int
    tensors: DecodedBatch | None = None

    def decode_steps(self) -> Iterator[DecodingCost]:
        """Decode the images one by one, or the tensors; yields the cost of each step before it. Raises InvalidFrame,
        and what `check` of the images raises."""
        if self.images is None:
            yield from self._decode_tensors()
            return
        while True:
            start = time.perf_counter_ns()
            cost = self.images.open_next()
            self.decode_ns += time.perf_counter_ns() - start
            if cost is None:
                return
            yield cost
            start = time.perf_counter_ns()
            self.images.decode_next()
            self.decode_ns += time.perf_counter_ns() - start

    def _decode_tensors(self) -> Iterator[DecodingCost]:
        if self.cost.work:
            yield DecodingCost(0, 0, self.cost.work, 1, self.cost.peak_bytes)
            start = time.perf_counter_ns()
            self.tensors = self.executor.decode(self.cut, self.frame)
            self.decode_ns += time.perf_counter_ns() - start

    def finish(self) -> PendingRequest:
        """Decode what is left. Raises InvalidFrame, and what `check` of the images raises."""
        start = time.perf_counter_ns()
        if self.images is None:
            decoded = self.tensors or self.executor.decode(self.cut, self.frame)
        else:
            decoded = self.executor.finish_images(self.images)
        decode_us = (self.decode_ns + time.perf_counter_ns() - start) // 1000
        return PendingRequest(self.cut, self.frame, decoded, self.received_ns, decode_us)


def start_request(
    executor: TailExecutor,
    cut: Cut,
    body: bytes,
    header_length: str | None,
    *,
    received_ns: int,
    max_decoded_bytes: int = wire_tensors.SERVED_BYTES,
    reserve: Callable[[int], None] = lambda _: None,
    check: Callable[[], None] = lambda: None,
) -> StartedRequest:
    """Parse the body of a request for a cut. `reserve` is called with the bytes that parsing a large JSON takes, then
    with those that decoding the tensors and encoding the reply take, each time before they are allocated; the time it
    takes does not count as decoding. `check` is for image files; see ImageBatch. Raises InvalidFrame, BundleMismatch,
    HttpError with status 413 for several images with more than `max_decoded_bytes`, and whatever `reserve` raises."""
    start = time.perf_counter_ns()

    def reserve_untimed(size: int) -> None:
        nonlocal start
        before = time.perf_counter_ns()
        reserve(size)
        start += time.perf_counter_ns() - before

    frame = wire.decode_request(body, wire.parse_header_length(header_length), reserve_untimed)
    executor.check_bundle(frame)
    batch = executor.batch_size(cut, frame)
    size = wire_tensors.decoded_bytes(cut.boundary, batch)
    if batch > 1 and size > max_decoded_bytes:
        raise oip.too_large_decoded(batch, size, max_decoded_bytes)
    cost = executor.decoding_cost(cut, frame)
    reserve_untimed(cost.peak_bytes + reply_bytes(executor.bundle, frame, batch))
    images = executor.open_images(cut, frame, check)
    return StartedRequest(executor, cut, frame, images, cost, received_ns, time.perf_counter_ns() - start)


def reply_bytes(bundle: Bundle, frame: wire.Frame, batch: int) -> int:
    """The memory that the scores of a request and their encoding take at most."""
    return batch * bundle.output.elements * (_JSON_SCORE_BYTES if wire.wants_json(frame) else _BINARY_SCORE_BYTES)


def compute(executor: TailExecutor, cut: Cut, requests: Sequence[Sequence[np.ndarray]]) -> list[InferenceResult]:
    """Compute the scores of several requests, given as boundary tensors, in one call of the runtime. Sharing the call
    changes no result: runtimes compute each image's scores to the same bits whatever the batch."""
    start = time.perf_counter_ns()
    columns = zip(*requests, strict=True)
    tensors = [column[0] if len(column) == 1 else np.concatenate(column) for column in columns]
    scores = executor.run(cut, tensors)
    tail_us = (time.perf_counter_ns() - start) // 1000
    ends = np.cumsum([len(request[0]) for request in requests])[:-1]
    return [InferenceResult(part, tail_us) for part in np.split(scores, ends)]


def encode_reply(bundle: Bundle, pending: PendingRequest, result: InferenceResult) -> wire.Body:
    """Encode the body of the reply to a request. Raises InvalidFrame if the request names an unknown output."""
    server_us = (time.perf_counter_ns() - pending.received_ns) // 1000
    timings = ServerTimings(
        decode_us=pending.decode_us,
        queue_us=max(0, server_us - pending.decode_us - result.tail_us),
        tail_us=result.tail_us,
        server_us=server_us,
    )
    scores = pending.decoded.scatter(result.scores)
    frame = response_frame(bundle.output, scores, pending.decoded.errors, timings)
    return wire.encode_response(frame, pending.frame, bundle.name, pending.cut.id)
