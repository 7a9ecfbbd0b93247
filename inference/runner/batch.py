"""The batch that passes through the runner's pipeline, and its conversion to log records."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np

from hybrid_batch.data.images.decode import PixelSize
from hybrid_batch.data.log.parquet.limits import MAX_WORD_BYTES
from hybrid_batch.data.log.records import WAITS, Record
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.scores import to_scores
from hybrid_batch.inference.protocol.wire import Frame
from hybrid_batch.inference.runner.split import LocalSplit, Split

TOP = 5
NOT_FINITE = "the model gave no finite score"
# Durations come from one monotonic clock; this is the time of day at its reading 0.
_CLOCK_START = datetime.now(UTC) - timedelta(microseconds=time.perf_counter_ns() / 1000)


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """Image files to upload, as stored or recompressed."""

    files: list[bytes]


@dataclass(frozen=True, slots=True)
class Pixels:
    """Decoded images (images, height, width, channels) in the data type of the model's input."""

    array: np.ndarray


@dataclass(frozen=True, slots=True)
class BoundaryTensors:
    """The tensors at a cut, in the boundary's order, each (images, …)."""

    tensors: list[np.ndarray]


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """The output of the model (images, outputs)."""

    array: np.ndarray


Payload = ImageFiles | Pixels | BoundaryTensors | Frame | ModelOutput


@dataclass(slots=True)
class Batch:
    """Consecutive images of one shard.

    `payload` holds the images without an error, in order; None when there are none, and before the decode stage. Each
    stage replaces it, so that its input can be freed:

        decode → ImageFiles or Pixels → head → BoundaryTensors or ModelOutput → encode → Frame → send → ModelOutput

    `number` counts the batches of the shard. `errors` maps the position of an image to the reason why it has no
    prediction, `sizes` to its width and height, and `hashes` to the hash of its file. `ran_locally` is true when this
    machine computed the model's output. Times are for the whole batch. `started_ns` (one for each image), `decoded_ns`,
    `left_ns` (the end of the last stage so far) and `done_ns` are readings of `time.perf_counter_ns`. `stages_ns` is
    the time in the stages after decode, and `waits_ns` the time before each of them, by its name in WAITS.
    """

    shard: int
    images: Sequence[str]
    labels: Sequence[str | None]
    image_bytes: list[int]
    ends_shard: bool
    number: int = 0
    split: Split = field(default_factory=LocalSplit)
    ran_locally: bool = False
    payload: Payload | None = None
    errors: dict[int, str] = field(default_factory=dict)
    sizes: dict[int, PixelSize] = field(default_factory=dict)
    hashes: dict[int, str] = field(default_factory=dict)
    started_ns: list[int] = field(default_factory=list)
    decoded_ns: int = 0
    left_ns: int = 0
    done_ns: int = 0
    stages_ns: int = 0
    decode_ns: int = 0
    head_ns: int = 0
    encode_ns: int = 0
    waits_ns: dict[str, int] = field(default_factory=dict)
    link_us: int = 0
    queue_us: int = 0
    tail_us: int = 0
    cut_bytes: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0

    @property
    def ok_positions(self) -> list[int]:
        """Positions of the images without an error."""
        return [position for position in range(len(self.images)) if position not in self.errors]

    @contextmanager
    def in_stage(self, wait: str) -> Iterator[None]:
        """A stage after decode: measures the wait before it (a name in WAITS) and the time in it."""
        start_ns = time.perf_counter_ns()
        self.waits_ns[wait] = start_ns - self.left_ns
        yield
        self.left_ns = time.perf_counter_ns()
        self.stages_ns += self.left_ns - start_ns

    def batch_wait_us(self, position: int) -> int:
        """The time that an image spent in the stages beyond its share of their work."""
        stages_us = (self.decoded_ns - self.started_ns[position] + self.stages_ns) // 1000
        work_us = (self.decode_ns + self.head_ns + self.encode_ns) // 1000 + self.link_us + self.queue_us + self.tail_us
        return max(0, stages_us - work_us // len(self.images))


@dataclass(frozen=True, slots=True)
class Provenance:
    """How predictions were made: the columns of the record that are equal for a run or a batch. `label_source` is for
    the images with a label."""

    run_id: str
    label_source: str | None
    cut: str
    codec: str
    tail: str


def to_records(batch: Batch, bundle: Bundle, provenance: Provenance) -> list[Record]:
    """One record for each image, in order. The payload is a ModelOutput, or None when every image has an error.

    Bytes and times of the batch are divided among its images; the bytes so that the records' sums are exact. An image
    with a score that is not finite gets the error NOT_FINITE."""
    positions = batch.ok_positions
    tops = dict(zip(positions, _top_labels(bundle, batch.payload), strict=True))
    batch.errors |= dict.fromkeys((position for position, top in tops.items() if top is None), NOT_FINITE)
    count = len(batch.images)
    cut, sent, received = (
        _divide(total, positions) for total in (batch.cut_bytes, batch.sent_bytes, batch.received_bytes)
    )
    head_wait, encode_wait, send_wait = (batch.waits_ns.get(wait, 0) // 1000 for wait in WAITS[1:])
    records = []
    for position in range(count):
        top, size, label = tops.get(position), batch.sizes.get(position), batch.labels[position]
        records.append(
            Record(
                image=batch.images[position],
                label=label,
                label_source=None if label is None else provenance.label_source,
                prediction=top[0][0] if top else None,
                confidence=top[0][1] if top else None,
                top5=top,
                model=bundle.name,
                bundle=bundle.sha256,
                run_id=provenance.run_id,
                cut=provenance.cut,
                codec=provenance.codec,
                tail=provenance.tail,
                shard=batch.shard,
                batch_number=batch.number,
                batch=count,
                width=size.width if size else None,
                height=size.height if size else None,
                image_bytes=batch.image_bytes[position],
                image_hash=batch.hashes.get(position),
                cut_bytes=cut.get(position, 0),
                sent_bytes=sent.get(position, 0),
                received_bytes=received.get(position, 0),
                decode_us=batch.decode_ns // (1000 * count),
                head_us=batch.head_ns // (1000 * count),
                encode_us=batch.encode_ns // (1000 * count),
                link_us=batch.link_us // count,
                queue_us=batch.queue_us // count,
                tail_us=batch.tail_us // count,
                batch_wait_us=batch.batch_wait_us(position),
                head_wait_us=head_wait,
                encode_wait_us=encode_wait,
                send_wait_us=send_wait,
                latency_us=max(0, batch.done_ns - batch.started_ns[position]) // 1000,
                started_at=_CLOCK_START + timedelta(microseconds=batch.started_ns[position] / 1000),
                error=_short(batch.errors.get(position)),
            )
        )
    return records


def _short(error: str | None) -> str | None:
    """A reason within the limit of the log; that of a tail may have any length."""
    return error and error.encode()[:MAX_WORD_BYTES].decode(errors="ignore")


def _top_labels(bundle: Bundle, payload: Payload | None) -> list[tuple[tuple[str, float], ...] | None]:
    """The TOP labels and scores of each image, highest score first; None for an image with a score that is not
    finite."""
    if not isinstance(payload, ModelOutput):
        return []
    scores = to_scores(bundle, np.asarray(payload.array, np.float32))
    order = np.argsort(-scores, axis=1, kind="stable")[:, :TOP]
    best = np.take_along_axis(scores, order, axis=1)
    return [
        tuple((bundle.labels[index], score) for index, score in zip(row, values, strict=True)) if finite else None
        for row, values, finite in zip(order.tolist(), best.tolist(), np.isfinite(scores).all(axis=1), strict=True)
    ]


def _divide(total: int, positions: Sequence[int]) -> dict[int, int]:
    """`total` in integer parts that differ by at most one."""
    if not positions:
        return {}
    share, remainder = divmod(total, len(positions))
    return {position: share + (rank < remainder) for rank, position in enumerate(positions)}
