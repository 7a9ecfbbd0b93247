"""The batch that travels the runner's pipeline, and how it becomes records."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from hybrid_batch.data.log.records import Record
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.runner.split import HERE, Split

TOP = 5
FILES_BYTES = 32 << 20
NO_NUMBER = "the model gave no finite score"
# Durations come from one monotonic clock; this turns its readings into the time of day.
_CLOCK_START = datetime.now(UTC) - timedelta(microseconds=time.perf_counter_ns() / 1000)


@dataclass(slots=True)
class Batch:
    """Neighbouring images of one shard. Each stage replaces `load` by what it made of it (file bytes, pixels,
    boundary tensors, frame, scores), so that nothing is held longer than the next stage needs it.

    `errors` maps positions to the reason an image has no prediction; `load` holds only the others, in order.
    `split` is how it is divided; `kept` is set where it was meant for the tail and finished here.
    Times are of the whole batch; `started` and `done` are readings of `time.perf_counter_ns`, `started` one an image.
    """

    shard: int
    images: Sequence[str]
    labels: Sequence[str | None]
    sizes: list[int]
    last: bool
    split: Split = HERE
    kept: bool = False
    load: Any = None
    errors: dict[int, str] = field(default_factory=dict)
    started: list[int] = field(default_factory=list)
    done: int = 0
    decode_ns: int = 0
    head_ns: int = 0
    encode_ns: int = 0
    link_us: int = 0
    queue_us: int = 0
    tail_us: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0

    @property
    def good(self) -> list[int]:
        """Positions of the images still without error."""
        return [position for position in range(len(self.images)) if position not in self.errors]


def plan_batches(
    images: pa.Table, shards: Sequence[tuple[int, range]], route: Callable[[], tuple[Split, int]]
) -> Iterator[Batch]:
    """The batches of these shards in order, each divided and at most as large as `route` says when it is due and,
    unless one image alone is larger, of FILES_BYTES of files; none crosses a shard's border."""
    for shard, rows in shards:
        part = images.slice(rows.start, len(rows))
        sizes = part["size"].to_pylist()
        start = 0
        while start < len(sizes):
            split, batch_size = route()
            stop = _end(sizes, start, batch_size)
            group = part.slice(start, stop - start)
            yield Batch(
                shard,
                group["image"].to_pylist(),
                group["label"].to_pylist(),
                sizes[start:stop],
                last=stop == len(rows),
                split=split,
            )
            start = stop


def _end(sizes: Sequence[int], start: int, batch_size: int) -> int:
    """Where the batch that begins at `start` ends."""
    held = sizes[start]
    for at in range(start + 1, min(start + batch_size, len(sizes))):
        held += sizes[at]
        if held > FILES_BYTES:
            return at
    return min(start + batch_size, len(sizes))


def to_scores(bundle: Bundle, output: np.ndarray) -> np.ndarray:
    """The model's output (batch, outputs) as scores (batch, classes): softmax of logits, both classes of one."""
    if bundle.output.elements == 1:
        positive = output if bundle.output_kind == "probabilities" else 1 / (1 + np.exp(-output))
        return np.concatenate([1 - positive, positive], axis=1)
    if bundle.output_kind == "probabilities":
        return output
    raised = np.exp(output - output.max(axis=1, keepdims=True))
    scores: np.ndarray = raised / raised.sum(axis=1, keepdims=True)
    return scores


@dataclass(frozen=True, slots=True)
class Made:
    """How a prediction was made: the record's cut, codec and tail."""

    cut: str
    codec: str
    tail: str


def to_records(batch: Batch, bundle: Bundle, made: Made) -> list[Record]:
    """One record an image, in order. `batch.load` is the model's output (good images, outputs).

    Bytes of frame headers are shared out so that the records' sums are exact."""
    good = batch.good
    tops = dict(zip(good, _tops(bundle, batch.load), strict=True)) if good else {}
    batch.errors |= dict.fromkeys((at for at, top in tops.items() if top is None), NO_NUMBER)
    count = len(batch.images)
    sent, received = _shares(batch.sent_bytes, good), _shares(batch.received_bytes, good)
    records = []
    for position in range(count):
        top = tops.get(position)
        records.append(
            Record(
                image=batch.images[position],
                label=batch.labels[position],
                prediction=top[0][0] if top else None,
                confidence=top[0][1] if top else None,
                top5=top,
                cut=made.cut,
                codec=made.codec,
                tail=made.tail,
                batch=count,
                image_bytes=batch.sizes[position],
                sent_bytes=sent.get(position, 0),
                received_bytes=received.get(position, 0),
                decode_us=batch.decode_ns // (1000 * count),
                head_us=batch.head_ns // (1000 * count),
                encode_us=batch.encode_ns // (1000 * count),
                link_us=batch.link_us // count,
                queue_us=batch.queue_us // count,
                tail_us=batch.tail_us // count,
                latency_us=max(0, batch.done - batch.started[position]) // 1000,
                started_at=_CLOCK_START + timedelta(microseconds=batch.started[position] / 1000),
                error=batch.errors.get(position),
            )
        )
    return records


def _tops(bundle: Bundle, output: np.ndarray) -> list[tuple[tuple[str, float], ...] | None]:
    """The best labels and scores of each image, None where the model gave no number."""
    scores = to_scores(bundle, np.asarray(output, np.float32))
    order = np.argsort(-scores, axis=1, kind="stable")[:, :TOP]
    best = np.take_along_axis(scores, order, axis=1)
    return [
        tuple((bundle.labels[index], score) for index, score in zip(row, values, strict=True)) if finite else None
        for row, values, finite in zip(order.tolist(), best.tolist(), np.isfinite(scores).all(axis=1), strict=True)
    ]


def _shares(total: int, positions: Sequence[int]) -> dict[int, int]:
    """`total` in whole parts, equal to within one."""
    if not positions:
        return {}
    each, more = divmod(total, len(positions))
    return {position: each + (rank < more) for rank, position in enumerate(positions)}
