"""The record of one image in the log, and its Arrow schema.

`inference` writes records and `evaluation` reads them; this schema is all that they share.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime

import pyarrow as pa

SCHEMA_VERSION = 1
STAGES = ("decode", "head", "encode", "link", "queue", "tail", "latency")
LOCAL_CUT = "local"
PART_NAME = "part-{:05d}.parquet"

_WORD = pa.dictionary(pa.int32(), pa.string())

SCHEMA = pa.schema(
    [
        pa.field("image", pa.string(), nullable=False),
        pa.field("label", _WORD),
        pa.field("prediction", _WORD),
        pa.field("confidence", pa.float32()),
        pa.field("top5", pa.list_(pa.struct([("label", pa.string()), ("score", pa.float32())]))),
        pa.field("cut", _WORD),
        pa.field("codec", _WORD),
        pa.field("tail", _WORD),
        pa.field("batch", pa.int32()),
        pa.field("image_bytes", pa.int64()),
        pa.field("sent_bytes", pa.int64()),
        pa.field("received_bytes", pa.int64()),
        *(pa.field(f"{stage}_us", pa.int64()) for stage in STAGES),
        pa.field("started_at", pa.timestamp("us", tz="UTC")),
        pa.field("error", pa.string()),
    ],
    metadata={"hybrid_batch.schema": str(SCHEMA_VERSION)},
)


@dataclass(frozen=True, slots=True)
class Record:
    """The result of one image. A stage time is the wall time of the batch divided by its number of images.
    `latency_us` runs from the request of the image's file until the scores of its batch are in memory. An image that
    could not be classified has an `error` and no prediction."""

    image: str
    label: str | None
    prediction: str | None
    confidence: float | None
    top5: tuple[tuple[str, float], ...] | None
    cut: str
    codec: str
    tail: str
    batch: int
    image_bytes: int
    sent_bytes: int
    received_bytes: int
    decode_us: int
    head_us: int
    encode_us: int
    link_us: int
    queue_us: int
    tail_us: int
    latency_us: int
    started_at: datetime
    error: str | None = None


def to_table(records: Sequence[Record]) -> pa.Table:
    """Return the records, in order, as a table of `SCHEMA`."""
    columns = {field.name: [getattr(record, field.name) for record in records] for field in fields(Record)}
    columns["top5"] = [
        None if top is None else [{"label": label, "score": score} for label, score in top] for top in columns["top5"]
    ]
    return pa.table(columns, schema=SCHEMA)
