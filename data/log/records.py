"""The record of one image in the log, and its Arrow schema.

`inference` writes records and `evaluation` reads them; this schema is all that they share. `schema_versions.py` reads
the records of earlier versions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from operator import attrgetter

import pyarrow as pa

SCHEMA_VERSION = 3
VERSION_KEY = "hybrid_batch.schema"
STAGES = ("decode", "head", "encode", "link", "queue", "tail", "latency")
WAITS = ("batch_wait", "head_wait", "encode_wait", "send_wait")
LOCAL_CUT = "local"
LOCAL_TAIL = "local"
PART_NAME = "part-{:05d}.parquet"

_WORD = pa.dictionary(pa.int32(), pa.string())

SCHEMA = pa.schema(
    [
        pa.field("image", pa.string(), nullable=False),
        pa.field("label", _WORD),
        pa.field("label_source", _WORD),
        pa.field("prediction", _WORD),
        pa.field("confidence", pa.float32()),
        pa.field("top5", pa.list_(pa.struct([("label", pa.string()), ("score", pa.float32())]))),
        pa.field("model", _WORD),
        pa.field("bundle", _WORD),
        pa.field("run_id", _WORD),
        pa.field("cut", _WORD),
        pa.field("codec", _WORD),
        pa.field("tail", _WORD),
        pa.field("shard", pa.int32()),
        pa.field("batch_number", pa.int32()),
        pa.field("batch", pa.int32()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("image_bytes", pa.int64()),
        pa.field("image_hash", pa.string()),
        pa.field("cut_bytes", pa.int64()),
        pa.field("sent_bytes", pa.int64()),
        pa.field("received_bytes", pa.int64()),
        *(pa.field(f"{time}_us", pa.int64()) for time in (*STAGES[:-1], *WAITS, STAGES[-1])),
        pa.field("started_at", pa.timestamp("us", tz="UTC")),
        pa.field("error", pa.string()),
    ],
    metadata={VERSION_KEY: str(SCHEMA_VERSION)},
)


@dataclass(frozen=True, slots=True)
class Record:
    """The result of one image.

    `width` and `height` are of the upright original, in pixels; None where it was not opened. `image_hash` is
    `hash_image` of the file, None where it was not read. `cut_bytes` is the
    image's share of the request at the cut; `sent_bytes` and `received_bytes` are what a network carried. A stage time
    is the wall time of the batch divided by its number of images. `batch_wait_us` is the time in the stages beyond that
    share, and the other waits are the time before a stage. `latency_us` runs from the request of the image's file until
    the scores of its batch are in memory: it is the sum of the stages and waits. An image that could not be classified
    has an `error` and no prediction."""

    image: str
    label: str | None
    label_source: str | None
    prediction: str | None
    confidence: float | None
    top5: tuple[tuple[str, float], ...] | None
    model: str
    bundle: str
    run_id: str
    cut: str
    codec: str
    tail: str
    shard: int
    batch_number: int
    batch: int
    width: int | None
    height: int | None
    image_bytes: int
    image_hash: str | None
    cut_bytes: int
    sent_bytes: int
    received_bytes: int
    decode_us: int
    head_us: int
    encode_us: int
    link_us: int
    queue_us: int
    tail_us: int
    batch_wait_us: int
    head_wait_us: int
    encode_wait_us: int
    send_wait_us: int
    latency_us: int
    started_at: datetime
    error: str | None = None


def hash_image(file: bytes) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of an image's file."""
    return sha256(file).hexdigest()[:16]


_VALUES = attrgetter(*SCHEMA.names)


def to_table(records: Sequence[Record]) -> pa.Table:
    """Return the records, in order, as a table of `SCHEMA`."""
    if not records:
        return SCHEMA.empty_table()
    columns = dict(zip(SCHEMA.names, zip(*map(_VALUES, records), strict=True), strict=True))
    columns["top5"] = tuple(
        None if top is None else [{"label": label, "score": score} for label, score in top] for top in columns["top5"]
    )
    return pa.table(columns, schema=SCHEMA)
