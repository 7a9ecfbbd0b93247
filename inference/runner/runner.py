"""A run: images pass through head, link and tail into the log, in overlapping stages, each image exactly once."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

import pyarrow as pa

from hybrid_batch.data.images.decoding.pixel_budget import RUNNER_BUDGET, PixelBudget
from hybrid_batch.data.images.images import ImageSet
from hybrid_batch.data.log.records import LOCAL_TAIL, to_table
from hybrid_batch.data.log.runs import RunFolder, shards
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.runtimes import Runtime
from hybrid_batch.inference.runner.batch import Batch, Provenance, to_records
from hybrid_batch.inference.runner.pipeline import Pipeline
from hybrid_batch.inference.runner.routing import Router, plan_batches
from hybrid_batch.inference.runner.stages import Stages
from hybrid_batch.inference.runner.totals import Totals
from hybrid_batch.inference.tails import Tail
from hybrid_batch.inference.tails.local import LocalTail

_REORDERED_BATCHES = 256  # finished on this machine while the tail computes an earlier one; only their scores are held
_EVENTS = 50  # kept of a run whose link changes all the time


@dataclass(frozen=True, slots=True)
class Concurrency:
    """Requests in flight to the tail, and threads that decode. Neither changes a prediction."""

    in_flight: int = 4
    decoders: int = os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class RunSpec:
    """Everything a run needs, opened and checked. `tail_name` is the record's `tail`; `shard_size` is in images;
    `events` are lines about failures of the tail and changes of the split, to which the router adds; `pixels` limits
    images."""

    bundle: Bundle
    router: Router
    runtime: Runtime
    tail: Tail
    tail_name: str
    images: ImageSet
    folder: RunFolder
    shard_size: int
    concurrency: Concurrency = Concurrency()
    events: list[str] = field(default_factory=list)
    pixels: PixelBudget = RUNNER_BUDGET


def run_shards(spec: RunSpec, on_batch: Callable[[Batch], None]) -> Totals:
    """Run every shard that is missing in the run's folder, write `_SUCCESS`, and return the totals of the whole run.

    `on_batch` is called with each batch when its predictions are available, in the order of the images. Raises
    TailUnreachable, TailRefused and StorageFailed; after any exception all committed shards are complete, and the next
    call runs the others.
    """
    table, concurrency, adaptive = spec.images.table, spec.concurrency, spec.router.fixed_split is None
    present = spec.folder.parts()
    missing = [(shard, rows) for shard, rows in shards(table.num_rows, spec.shard_size) if shard not in present]
    totals = Totals.of_shards(spec.folder, present)
    stages = Stages(spec.bundle, spec.runtime, spec.tail, spec.router, spec.images.root, pixels=spec.pixels)
    session = spec.router.session(sum(len(rows) for _, rows in missing), stages.compile_split)
    # The session ends first: batches may be waiting for its measurements.
    with stages.drain, Pipeline() as pipeline, session:
        batches = plan_batches(table, missing, spec.router, spec.bundle)
        batches = pipeline.map_ordered(stages.decode, batches, name="decode", threads=concurrency.decoders)
        if stages.has_head:
            batches = pipeline.map_ordered(stages.run_head, batches, name="head")
        if stages.has_tail:
            batches = pipeline.map_ordered(stages.encode, batches, name="encode")
            batches = pipeline.map_ordered(
                stages.send,
                batches,
                name="send",
                threads=concurrency.in_flight + adaptive,  # one more for batches that ran locally
                reorder_buffer=_REORDERED_BATCHES if adaptive else 0,
                wait_on_interrupt=isinstance(spec.tail, LocalTail),  # the response of a remote tail may never arrive
            )
        complete = _group_by_shard(_observe(batches, on_batch))
        for records in pipeline.map_ordered(partial(_commit, spec), complete, name="write", threads=2, prefetch=0):
            totals.add(records)
    totals.reason, totals.events = spec.router.reason, spec.events[:_EVENTS]
    spec.folder.mark_complete(totals.to_dict())
    return totals


def _commit(spec: RunSpec, batches: list[Batch]) -> pa.Table:
    """Write the records of a shard; the records in the folder when another process has written them before."""
    shard = batches[0].shard
    records = to_table(
        [record for batch in batches for record in to_records(batch, spec.bundle, _provenance(batch, spec))]
    )
    return records if spec.folder.commit(shard, records) else spec.folder.read_part(shard)


def _provenance(batch: Batch, spec: RunSpec) -> Provenance:
    tail = LOCAL_TAIL if batch.ran_locally else spec.tail_name
    return Provenance(spec.folder.run_id, spec.images.label_source, batch.split.name, batch.split.codec, tail)


def _observe(batches: Iterable[Batch], on_batch: Callable[[Batch], None]) -> Iterator[Batch]:
    for batch in batches:
        on_batch(batch)
        yield batch


def _group_by_shard(batches: Iterable[Batch]) -> Iterator[list[Batch]]:
    shard: list[Batch] = []
    for batch in batches:
        shard.append(batch)
        if batch.ends_shard:
            yield shard
            shard = []
