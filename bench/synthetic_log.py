"""A synthetic log of any size: 1,000 classes, 8 cuts, 20 shards, generated from a fixed seed."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hybrid_batch.data.log.records import PART_NAME, SCHEMA, STAGES, WAITS

CLASSES, CUTS, SHARDS = 1000, 8, 20
RECORDS = 100_000_000
_RECORDS_AT_ONCE = 500_000
_IMAGES_PER_FOLDER = 5000
_START_US = 1_767_225_600_000_000


def write_log(folder: Path, scale: float) -> int:
    """Write the parts of a run of `scale` times 100 million records to a new folder; returns the number of records."""
    size = max(1, round(RECORDS * scale / SHARDS))
    folder.mkdir(parents=True)
    for shard in range(SHARDS):
        random = np.random.default_rng([2026, shard])
        with pq.ParquetWriter(folder / PART_NAME.format(shard), SCHEMA, compression="zstd") as writer:
            for start in range(0, size, _RECORDS_AT_ONCE):
                count = min(_RECORDS_AT_ONCE, size - start)
                writer.write_table(_records(random, shard * size + start, count, size))
    return size * SHARDS


def count_log(folder: Path) -> int:
    """The number of records in the parts of a run."""
    return sum(pq.read_metadata(part).num_rows for part in folder.glob("part-*.parquet"))


def _records(random: np.random.Generator, first: int, count: int, size: int) -> pa.Table:
    names = pa.array([f"n{number:08d}" for number in range(CLASSES)])
    label = random.integers(0, CLASSES, count, dtype=np.int32)
    is_correct = random.random(count) < 0.76
    confused = (label + np.minimum(random.geometric(0.02, count), CLASSES - 1)).astype(np.int32) % CLASSES
    prediction = np.where(is_correct, label, confused)
    confidence = np.where(is_correct, 1 - random.random(count) ** 3, random.random(count)).astype(np.float32)
    others = prediction[:, None] + 1 + np.sort(random.integers(0, 250, (count, 4), dtype=np.int32), axis=1)
    others = (others + np.arange(4, dtype=np.int32)) % CLASSES
    others[:, 0] = np.where(~is_correct & (random.random(count) < 0.7), label, others[:, 0])
    top = np.concatenate([prediction[:, None], others], axis=1)
    score = np.concatenate(
        [confidence[:, None], (1 - confidence[:, None]) * np.array([0.5, 0.2, 0.1, 0.05], np.float32)], axis=1
    )
    failed = random.random(count) < 0.002
    cut = random.integers(0, CUTS, count, dtype=np.int32)
    numbers = np.arange(first, first + count)
    times = {
        f"{stage}_us": random.lognormal(8 - place / 3, 0.7, count).astype(np.int64)
        for place, stage in enumerate(STAGES[:-1])
    }
    waits = np.sum(list(times.values()), axis=0) * 2
    sent_bytes = (cut + 1) * np.int64(3000) + random.integers(0, 500, count)
    columns = {
        "image": pc.binary_join_element_wise(
            "train/",
            _zero_padded(numbers // _IMAGES_PER_FOLDER, 6),
            "/img_",
            _zero_padded(numbers % _IMAGES_PER_FOLDER, 5),
            ".jpg",
            "",
        ),
        "label": _encoded(label, names, random.random(count) < 0.01),
        "label_source": _constant(count, "folder"),
        "prediction": _encoded(prediction, names, failed),
        "confidence": pa.array(confidence, mask=failed),
        "top5": pa.ListArray.from_arrays(
            pa.array(np.arange(0, 5 * count + 1, 5, dtype=np.int32)),
            pa.StructArray.from_arrays(
                [names.take(pa.array(top.ravel())), pa.array(score.ravel())], names=["label", "score"]
            ),
        ),
        "model": _constant(count, "synthetic"),
        "bundle": _constant(count, "0" * 64),
        "run_id": _constant(count, "synthetic"),
        "cut": _encoded(cut, pa.array([f"c{number:03d}" for number in range(CUTS)])),
        "codec": _encoded(cut % 2, pa.array(["fp16", "int8"])),
        "tail": _constant(count, "http://127.0.0.1:8000"),
        "shard": pa.array((numbers // size).astype(np.int32)),
        "batch_number": pa.array((numbers % size // 32).astype(np.int32)),
        "batch": pa.array(np.full(count, 32, np.int32)),
        "width": pa.array(np.full(count, 500, np.int32)),
        "height": pa.array(np.full(count, 375, np.int32)),
        "image_bytes": pa.array(random.integers(4000, 200_000, count)),
        "image_hash": pa.nulls(count, pa.string()),
        "cut_bytes": pa.array(sent_bytes),
        "sent_bytes": pa.array(sent_bytes),
        "received_bytes": pa.array(np.full(count, 4000)),
        **{name: pa.array(values) for name, values in times.items()},
        **{f"{wait}_us": pa.array(waits) for wait in WAITS},
        "latency_us": pa.array(np.sum(list(times.values()), axis=0) + len(WAITS) * waits),
        "started_at": pa.array(_START_US + numbers * 500).cast(pa.timestamp("us", tz="UTC")),
        "error": _encoded(np.zeros(count, np.int32), pa.array(["cannot identify image file"]), ~failed).cast(
            pa.string()
        ),
    }
    return pa.table(columns, schema=SCHEMA)


def _constant(count: int, word: str) -> pa.DictionaryArray:
    return _encoded(np.zeros(count, np.int32), pa.array([word]))


def _encoded(codes: np.ndarray, words: pa.Array, missing: np.ndarray | None = None) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32), mask=missing), words)


def _zero_padded(numbers: np.ndarray, width: int) -> pa.Array:
    return pc.utf8_lpad(pa.array(numbers).cast(pa.string()), width, "0")
