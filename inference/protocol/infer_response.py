"""A tail's response: scores, the errors of single images, and the server's timings."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from hybrid_batch.data.errors import InvalidFrame
from hybrid_batch.inference.model.cuts import TensorSpec
from hybrid_batch.inference.model.datatypes import BYTES, FLOAT_DATATYPES, NUMPY_DTYPES, join_bytes, split_bytes
from hybrid_batch.inference.protocol.wire import Frame, WireTensor

ERRORS = "errors"
ERROR_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class ServerTimings:
    """The times of one request by the server's clock, in microseconds.

    `decode_us` decodes the frame, `queue_us` waits for the runtime, `tail_us` is the runtime's call, `server_us` the
    time from the last byte received to the first byte sent."""

    decode_us: int = 0
    queue_us: int = 0
    tail_us: int = 0
    server_us: int = 0


@dataclass(frozen=True, slots=True)
class InferResponse:
    """The response to one frame.

    `scores` is the model's output, float32 (batch, *output shape). `errors` has one entry per image: None, or a
    sentence if the image could not be decoded and its scores are zeros. `sent_bytes` and `received_bytes` are whole
    HTTP bodies; for a local tail, the bodies that a remote tail would need."""

    scores: np.ndarray
    errors: tuple[str | None, ...]
    timings: ServerTimings
    sent_bytes: int
    received_bytes: int
    round_trip_us: int

    @property
    def link_us(self) -> int:
        """The round trip less the server's time. Each is a duration by one clock, so clocks need not agree."""
        return max(0, self.round_trip_us - self.timings.server_us)


def response_frame(
    output: TensorSpec, scores: np.ndarray, errors: tuple[str | None, ...], timings: ServerTimings
) -> Frame:
    """Return the frame of a response. It has a tensor `errors` only if an image failed."""
    data = np.ascontiguousarray(scores, "<f4").reshape(-1).view(np.uint8).data
    tensors = [WireTensor(output.name, "FP32", scores.shape, data)]
    if any(errors):
        texts = [(error or "")[:ERROR_CHARACTERS].encode(errors="replace") for error in errors]
        tensors.append(WireTensor(ERRORS, BYTES, (len(texts),), join_bytes(texts)))
    return Frame(tuple(tensors), parameters=asdict(timings))


def decode_scores(output: TensorSpec, batch: int, frame: Frame) -> tuple[np.ndarray, tuple[str | None, ...]]:
    """Return scores (batch, *output shape) and errors (batch) of a response. Raises InvalidFrame for other tensors."""
    tensors = {tensor.name: tensor for tensor in frame.tensors}
    scores = tensors.get(output.name)
    shape = (batch, *output.shape)
    if scores is None or scores.shape != shape or scores.datatype not in FLOAT_DATATYPES:
        found = [f"{tensor.name} {tensor.datatype} {list(tensor.shape)}" for tensor in frame.tensors]
        raise InvalidFrame(f"The tail answered {', '.join(found)} instead of {output.name} FP32 {list(shape)}.")
    array = np.frombuffer(scores.data, NUMPY_DTYPES[scores.datatype]).reshape(shape).astype(np.float32)
    if ERRORS not in tensors:
        return array, (None,) * batch
    texts = split_bytes(tensors[ERRORS].data, batch)
    return array, tuple(bytes(text).decode(errors="replace") or None for text in texts)


def decode_timings(parameters: Mapping[str, Any], round_trip_us: int) -> ServerTimings:
    """Return the server's timings, each at most the round trip. Other servers of the protocol send none: zeros."""
    found = {field.name: parameters.get(field.name) for field in fields(ServerTimings)}
    return ServerTimings(
        **{name: min(value, round_trip_us) for name, value in found.items() if type(value) is int and value >= 0}
    )
