"""Run folders as hybrid-batch wrote them with version 1 of the records' schema."""

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hybrid_batch.data.log.own_runs import note_run
from hybrid_batch.data.log.records import Record, to_table
from hybrid_batch.data.log.runs import RunFolder
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.inference.model.cache import cache_folder

_WORD = pa.dictionary(pa.int32(), pa.string())
_STAGES = ("decode", "head", "encode", "link", "queue", "tail", "latency")

SCHEMA_1 = pa.schema(
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
        *(pa.field(f"{stage}_us", pa.int64()) for stage in _STAGES),
        pa.field("started_at", pa.timestamp("us", tz="UTC")),
        pa.field("error", pa.string()),
    ],
    metadata={"hybrid_batch.schema": "1"},
)


def to_table_1(records: Sequence[Record]) -> pa.Table:
    """The records as a table of version 1. `sent_bytes` of version 1 is also set where the tail is in this process."""
    return to_table(records).select(SCHEMA_1.names).cast(SCHEMA_1)


def write_run_1(folder: Path, records: Sequence[Record], shard_size: int, finished: bool = True) -> RunFolder:
    """A run folder of version 1; an unfinished one has neither the last part nor the totals."""
    folder.mkdir(parents=True)
    settings = {"format": 1, "identity": {"bundle": "b" * 64}, "shard_size": shard_size}
    (folder / "_run.json").write_text(json.dumps(settings))
    images = {
        "image": [record.image for record in records],
        "label": [record.label for record in records],
        "size": pa.array([record.image_bytes for record in records], pa.int64()),
    }
    pq.write_table(pa.table(images), folder / "_images.parquet", compression="zstd")
    starts = range(0, len(records), shard_size)
    for index, start in enumerate(starts if finished else starts[:-1]):
        part = folder / f"part-{index:05d}.parquet"
        pq.write_table(to_table_1(records[start : start + shard_size]), part, compression="zstd")
    if finished:
        (folder / "_SUCCESS").write_text(json.dumps({"images": len(records)}))
    run = RunFolder(open_storage(str(folder)))
    note_run(cache_folder("own"), run.uri, None, run.settings_sha256())
    return run
