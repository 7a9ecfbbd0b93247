"""A request for inference on its way through a tail: read, computed alone or with others, answered."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import Cut
from hybrid_batch.inference.protocol.infer_response import TailTimes, answer_frame
from hybrid_batch.inference.protocol.wire import Body, Frame, decode_request, encode_response, parse_header_length
from hybrid_batch.inference.serving.executor import Arrived, TailWorker


@dataclass(frozen=True, slots=True)
class Asked:
    """A request whose images wait for the engine. `began_ns` is when its last byte was in, by `perf_counter_ns`."""

    cut: Cut
    frame: Frame
    arrived: Arrived
    began_ns: int
    decode_us: int


@dataclass(frozen=True, slots=True)
class Computed:
    """The scores of one request, and how long the engine's call that computed them took."""

    scores: np.ndarray
    tail_us: int


def read(
    worker: TailWorker,
    cut: Cut,
    body: bytes,
    header_length: str | None,
    *,
    began_ns: int,
    hold: Callable[[int], None] = lambda _: None,
) -> Asked:
    """Body of a request to tensors; `hold` is told their bytes before they are made, and what it waits for is no time
    of decoding. Raises BadFrame, OtherBundle."""
    start = time.perf_counter_ns()
    frame = decode_request(body, parse_header_length(header_length))
    worker.check_bundle(frame)
    size = worker.decoded_bytes(cut, frame)
    held = time.perf_counter_ns()
    hold(size)
    start += time.perf_counter_ns() - held
    arrived = worker.decode(cut, frame)
    return Asked(cut, frame, arrived, began_ns, (time.perf_counter_ns() - start) // 1000)


def compute(worker: TailWorker, cut: Cut, requests: Sequence[Sequence[np.ndarray]]) -> list[Computed]:
    """One call of the engine for the tensors of several requests. As engines give the same bits whatever the batch,
    sharing it changes no result."""
    began = time.perf_counter_ns()
    columns = zip(*requests, strict=True)
    tensors = [column[0] if len(column) == 1 else np.concatenate(column) for column in columns]
    scores = worker.run(cut, tensors)
    tail_us = (time.perf_counter_ns() - began) // 1000
    ends = np.cumsum([len(request[0]) for request in requests])[:-1]
    return [Computed(part, tail_us) for part in np.split(scores, ends)]


def reply(bundle: Bundle, asked: Asked, computed: Computed) -> Body:
    """The body that answers a request. Raises BadFrame if it wants an output that is not there."""
    server_us = (time.perf_counter_ns() - asked.began_ns) // 1000
    times = TailTimes(
        decode_us=asked.decode_us,
        queue_us=max(0, server_us - asked.decode_us - computed.tail_us),
        tail_us=computed.tail_us,
        server_us=server_us,
    )
    scores = asked.arrived.spread(computed.scores)
    frame = answer_frame(bundle.output, scores, asked.arrived.errors, times)
    return encode_response(frame, asked.frame, bundle.name, asked.cut.id)
