"""Factories of records and run folders."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import pyarrow as pa

from hybrid_batch.data.images.images import IMAGES_SCHEMA
from hybrid_batch.data.log.own_runs import note_run, noted_images
from hybrid_batch.data.log.records import Record, to_table
from hybrid_batch.data.log.runs import RunFolder
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.inference.model.cache import cache_folder

PLAIN = Record(
    image="a/1.png",
    label="a",
    label_source="folder",
    prediction="a",
    confidence=0.75,
    top5=(("a", 0.75), ("b", 0.25)),
    model="toy",
    bundle="b" * 64,
    run_id="x",
    cut="c001",
    codec="fp32",
    tail="local",
    shard=0,
    batch_number=0,
    batch=8,
    width=40,
    height=30,
    image_bytes=1000,
    image_hash="0123456789abcdef",
    cut_bytes=100,
    sent_bytes=100,
    received_bytes=10,
    decode_us=1,
    head_us=2,
    encode_us=3,
    link_us=4,
    queue_us=5,
    tail_us=6,
    batch_wait_us=0,
    head_wait_us=0,
    encode_wait_us=0,
    send_wait_us=0,
    latency_us=21,
    started_at=datetime(2026, 1, 1, tzinfo=UTC),
)


def record(**changes: object) -> Record:
    return replace(PLAIN, **changes)  # type: ignore[arg-type]


def random_records(count: int, classes: Sequence[str], seed: int = 0) -> list[Record]:
    """Random records of three cuts and two codecs in a few folders, with times of all magnitudes.

    Some have an error, some no label, no confidence or no top 5.
    """
    random = Random(seed)
    records = []
    for number in range(count):
        failed = random.random() < 0.05
        top5 = tuple(
            (name, 1 / (2 << place)) for place, name in enumerate(random.sample(classes, min(5, len(classes))))
        )
        records.append(
            record(
                image=f"{random.choice(['', 'a/', 'a/b/'])}{number:05d}.png",
                label=random.choice(classes) if random.random() < 0.9 else None,
                prediction=None if failed else top5[0][0],
                confidence=None if failed or random.random() < 0.05 else random.getrandbits(24) / 2**24,
                top5=None if failed or random.random() < 0.05 else top5,
                error="cannot identify image file" if failed else None,
                cut=random.choice(["c001", "c002", "local"]),
                codec=random.choice(["fp32", "int8"]),
                started_at=PLAIN.started_at + timedelta(seconds=random.uniform(0, 300)),
                image_bytes=random.randrange(10**6),
                sent_bytes=random.randrange(10**5),
                link_us=int(10 ** random.uniform(0, 9)),
                latency_us=int(10 ** random.uniform(0, 9)),
            )
        )
    return records


def write_run(
    uri: str, records: Sequence[Record], shard_size: int, finished: bool = True, *, own: bool = True
) -> RunFolder:
    """A run folder as the runner writes it, by default noted as the user's own; an unfinished one has neither the last
    part nor the totals."""
    run = RunFolder(open_storage(uri))
    run.create({"shard_size": shard_size})
    images = {
        "image": [entry.image for entry in records],
        "label": [entry.label for entry in records],
        "size": [entry.image_bytes for entry in records],
    }
    run.freeze_images(pa.table(images, schema=IMAGES_SCHEMA))
    starts = range(0, len(records), shard_size)
    for index, start in enumerate(starts if finished else starts[:-1]):
        run.commit(index, to_table(records[start : start + shard_size]))
    if finished:
        run.mark_complete({"images": len(records)})
    if own:
        cache = cache_folder("own")
        note_run(cache, run.uri, noted_images(cache, run.uri), run.settings_sha256())
    return run
