"""What comes back from a tail: scores, what went wrong with single images, and how long each step took."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from hybrid_batch.data.errors import BadFrame
from hybrid_batch.inference.model.cuts import TensorSpec
from hybrid_batch.inference.model.datatypes import BYTES, FLOATS, NUMPY, join_bytes, split_bytes
from hybrid_batch.inference.protocol.wire import Frame, WireTensor

ERRORS = "errors"
ERROR_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class TailTimes:
    """The tail's own clock, in microseconds of one request: decoding its frame, waiting for the engine, the
    engine's call, and all from the last byte in to the first byte out."""

    decode_us: int = 0
    queue_us: int = 0
    tail_us: int = 0
    server_us: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """The reply to one frame. `scores` is float32 (batch, *output shape); `errors` has a sentence for every image
    that could not be decoded, whose scores are zeros, and None for the others. `sent_bytes` and `received_bytes`
    are whole HTTP bodies (of a local tail: what they would have been)."""

    scores: np.ndarray
    errors: tuple[str | None, ...]
    times: TailTimes
    sent_bytes: int
    received_bytes: int
    round_trip_us: int

    @property
    def link_us(self) -> int:
        """The round trip less what the tail says it took: no two clocks are compared."""
        return max(0, self.round_trip_us - self.times.server_us)


def answer_frame(output: TensorSpec, scores: np.ndarray, errors: tuple[str | None, ...], times: TailTimes) -> Frame:
    """The frame a tail replies with. It has a tensor of errors only if there is one to tell."""
    data = np.ascontiguousarray(scores, "<f4").reshape(-1).view(np.uint8).data
    tensors = [WireTensor(output.name, "FP32", scores.shape, data)]
    if any(errors):
        texts = [(error or "")[:ERROR_CHARACTERS].encode(errors="replace") for error in errors]
        tensors.append(WireTensor(ERRORS, BYTES, (len(texts),), join_bytes(texts)))
    return Frame(tuple(tensors), parameters=asdict(times))


def read_scores(output: TensorSpec, batch: int, frame: Frame) -> tuple[np.ndarray, tuple[str | None, ...]]:
    """Scores and errors of a reply for `batch` images. Raises BadFrame if it is not that."""
    tensors = {tensor.name: tensor for tensor in frame.tensors}
    scores = tensors.get(output.name)
    shape = (batch, *output.shape)
    if scores is None or scores.shape != shape or scores.datatype not in FLOATS:
        found = [f"{tensor.name} {tensor.datatype} {list(tensor.shape)}" for tensor in frame.tensors]
        raise BadFrame(f"The tail answered {', '.join(found)}; {output.name} FP32 {list(shape)} was due.")
    array = np.frombuffer(scores.data, NUMPY[scores.datatype]).reshape(shape).astype(np.float32)
    if ERRORS not in tensors:
        return array, (None,) * batch
    texts = split_bytes(tensors[ERRORS].data, batch)
    return array, tuple(bytes(text).decode(errors="replace") or None for text in texts)


def read_times(parameters: Mapping[str, Any], round_trip_us: int) -> TailTimes:
    """The times a tail reports, none longer than the round trip; zeros for what it does not report, as other
    servers of the protocol do."""
    found = {field.name: parameters.get(field.name) for field in fields(TailTimes)}
    return TailTimes(
        **{name: min(value, round_trip_us) for name, value in found.items() if type(value) is int and value >= 0}
    )
