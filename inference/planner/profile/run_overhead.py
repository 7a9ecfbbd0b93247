"""Measure what a run costs besides decoding and the model: reading files, queues between threads, records, the log.

For a small model that is most of the time, and it depends on the threads that share an interpreter. Short runs that
compute everything on this machine are therefore measured as a whole.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from hybrid_batch.data.images.images import find_images
from hybrid_batch.data.log.runs import run_folder
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.inference.planner.profile.sample import ImageSample
from hybrid_batch.inference.planner.profile.target import ProfileTarget
from hybrid_batch.inference.runner.batch import Batch
from hybrid_batch.inference.runner.routing import FixedRouter
from hybrid_batch.inference.runner.runner import RunSpec, run_shards
from hybrid_batch.inference.runner.split import LOCAL, LocalSplit
from hybrid_batch.inference.tails.local import LocalTail

_RUN_S, _MAX_RUN_S = 0.4, 1.0
_MIN_BATCHES, _MAX_IMAGES = 6, 2048
_WARM_UP = 4  # the first quarter of the batches is not counted
_SHARD_SIZE = 512


def measure_run_overhead(
    target: ProfileTarget, sample: ImageSample, predicted_us: Mapping[int, float]
) -> dict[int, float]:
    """By batch size, µs per image that a local run takes beyond `predicted_us`.

    A batch size whose run would take longer than a second has the overhead of the next smaller one, 0 without one."""
    overhead_us: dict[int, float] = {}
    latest_us = 0.0
    for batch, image_us in sorted(predicted_us.items()):
        if _MIN_BATCHES * batch * image_us <= _MAX_RUN_S * 1e6:
            count = min(_MAX_IMAGES, max(_MIN_BATCHES * batch, int(_RUN_S * 1e6 / image_us)))
            latest_us = max(0.0, _time_run_us(target, sample, batch, count) - image_us)
        overhead_us[batch] = latest_us
    return overhead_us


def _time_run_us(target: ProfileTarget, sample: ImageSample, batch: int, count: int) -> float:
    """µs per image of a run of `count` images, without the time to start it."""
    done: list[tuple[int, int]] = []

    def on_batch(finished: Batch) -> None:
        done.append((time.perf_counter_ns(), len(finished.images)))

    with TemporaryDirectory(prefix="hybrid-batch-") as folder:
        images = Path(folder, "images")
        images.mkdir()
        for number in range(count):
            (images / f"{number:06d}.png").write_bytes(sample.files[number % len(sample.files)])
        log = run_folder(open_storage(folder), "overhead")
        tail = LocalTail(target.bundle, target.runtime)
        router = FixedRouter(LocalSplit(), batch)
        found = find_images(str(images))
        run_shards(RunSpec(target.bundle, router, target.runtime, tail, LOCAL, found, log, _SHARD_SIZE), on_batch)
    first = len(done) // _WARM_UP
    counted = sum(size for _, size in done[first + 1 :])
    return (done[-1][0] - done[first][0]) / 1000 / max(1, counted)
