"""The runner: images through head, link and tail into the log, everything at once and nothing twice."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from data.decode import CannotDecode, decode
from data.errors import StorageFailed, TooLarge
from data.images import Images
from data.records import to_table
from data.runs import RunFolder, shards
from inference import codecs
from inference.batch import Batch, Made, plan_batches, to_records
from inference.bundle import Bundle
from inference.cuts import Cut
from inference.datatypes import NUMPY
from inference.engines import Engine, compile_head, compile_tail
from inference.pipeline import overlap
from inference.split import Split
from inference.tails import Tail
from inference.totals import Totals
from inference.wire import Frame

IMAGE_LIMIT_BYTES = 256 << 20
PICTURE_LIMIT_BYTES = 32 << 20  # of a picture that travels; servers refuse requests above 64 MiB
BOUNDARY_BYTES = 32 << 20
_Stage = Callable[[Batch], Batch]


@dataclass(frozen=True, slots=True)
class Pace:
    """How much is done at once: sizes in images, threads and requests. None changes a prediction."""

    batch_size: int
    in_flight: int = 4
    decoders: int = os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class Job:
    """Everything a run needs, opened and checked. `tail_name` is the record's `tail`."""

    bundle: Bundle
    split: Split
    engine: Engine
    tail: Tail
    tail_name: str
    images: Images
    folder: RunFolder
    shard_size: int
    pace: Pace


def run_shards(job: Job, watch: Callable[[Batch], None]) -> Totals:
    """Do every shard of the run that is not in its folder yet, and write `_SUCCESS`; the totals of the whole run.

    `watch` is called with each batch when its results are in hand. Raises TailUnreachable, TailRefused and
    StorageFailed; whatever is raised, the shards in the folder are whole and the next call does the rest.
    """
    folder, table = job.folder, job.images.table
    present = folder.parts()
    totals = Totals()
    for shard in present:
        totals.add(folder.read_part(shard))
    missing = [(shard, rows) for shard, rows in shards(table.num_rows, job.shard_size) if shard not in present]

    batches: Iterator[Batch] = plan_batches(table, missing, _fitting(job))
    for name, stage, workers in _stages(job):
        batches = overlap(stage, batches, name=name, workers=workers)

    made = Made(job.split.name, job.split.codec, job.tail_name)

    def commit(shard: list[Batch]) -> pa.Table:
        records = to_table([record for batch in shard for record in to_records(batch, job.bundle, made)])
        return records if folder.commit(shard[0].shard, records) else folder.read_part(shard[0].shard)

    with closing(overlap(commit, _by_shard(_watched(batches, watch)), name="write")) as committed:
        for records in committed:
            totals.add(records)
    folder.finish(totals.to_dict())
    return totals


def _fitting(job: Job) -> int:
    """The batch size, less where the boundary is so large that a frame would be refused."""
    cut = job.split.cut
    if cut is None or job.split.codec == codecs.IMAGE:
        return job.pace.batch_size
    return max(1, min(job.pace.batch_size, BOUNDARY_BYTES // codecs.decoded_bytes(cut.boundary, 1)))


def _stages(job: Job) -> list[tuple[str, _Stage, int]]:
    """Name, work and threads of each stage, in order."""
    work, split, decoders = _Work(job), job.split, job.pace.decoders
    if split.cut is None:
        return [("decode", work.decode, decoders), ("head", work.whole, 1)]
    send = ("send", work.send, job.pace.in_flight)
    if split.codec == codecs.IMAGE:
        return [("read", work.read, decoders), ("encode", work.encode_pictures, 1), send]
    head = [] if split.cut is job.bundle.whole else [("head", work.head, 1)]
    return [("decode", work.decode, decoders), *head, ("encode", work.encode, 1), send]


class _Work:
    """What each stage does to a batch. Segments are compiled here, before the first batch."""

    def __init__(self, job: Job) -> None:
        self._bundle, self._split, self._tail, self._root = job.bundle, job.split, job.tail, job.images.root
        self._dtype = NUMPY[job.bundle.input.datatype]
        cut = job.split.cut
        if cut is None:
            self._segment = compile_tail(job.engine, job.bundle, job.bundle.whole)
        elif cut is not job.bundle.whole:
            self._segment = compile_head(job.engine, job.bundle, cut)

    def read(self, batch: Batch) -> Batch:
        """Picture files as they are."""
        start = time.perf_counter_ns()
        batch.load = [file for _, file in self._files(batch, PICTURE_LIMIT_BYTES)]
        batch.decode_ns = time.perf_counter_ns() - start
        return batch

    def decode(self, batch: Batch) -> Batch:
        """Pictures to pixels (images, H, W, C) as the model wants them."""
        start = time.perf_counter_ns()
        pixels = np.empty((len(batch.images), *self._bundle.input.shape), self._dtype)
        filled = 0
        for position, file in self._files(batch, IMAGE_LIMIT_BYTES):
            try:
                pixels[filled] = decode(file, self._bundle.preparation)
                filled += 1
            except CannotDecode as error:
                batch.errors[position] = str(error)
        batch.load = pixels[:filled]
        batch.decode_ns = time.perf_counter_ns() - start
        return batch

    def whole(self, batch: Batch) -> Batch:
        """Pixels to scores, all here."""
        batch = self.head(batch)
        batch.load = batch.load[0] if batch.good else None
        batch.done = time.perf_counter_ns()
        return batch

    def head(self, batch: Batch) -> Batch:
        """Pixels to boundary tensors."""
        start = time.perf_counter_ns()
        if batch.good:
            batch.load = self._segment([batch.load])
        batch.head_ns = time.perf_counter_ns() - start
        return batch

    def encode(self, batch: Batch) -> Batch:
        """Boundary tensors (or pixels, where the whole model is remote) to a frame."""
        start = time.perf_counter_ns()
        if batch.good:
            tensors = batch.load if isinstance(batch.load, list) else [batch.load]
            batch.load = Frame(codecs.encode(self._split.codec, self._cut.boundary, tensors))
        batch.encode_ns = time.perf_counter_ns() - start
        return batch

    def encode_pictures(self, batch: Batch) -> Batch:
        """Picture files to a frame."""
        start = time.perf_counter_ns()
        if batch.good:
            batch.load = Frame(codecs.encode_pictures(self._bundle.input, batch.load))
        batch.encode_ns = time.perf_counter_ns() - start
        return batch

    def send(self, batch: Batch) -> Batch:
        """A frame to scores, through the tail."""
        if batch.good:
            answer = self._tail.infer(self._cut.id, batch.load)
            batch.load = answer.scores[[error is None for error in answer.errors]]
            batch.errors |= {at: error for at, error in zip(batch.good, answer.errors, strict=True) if error}
            batch.sent_bytes, batch.received_bytes = answer.sent_bytes, answer.received_bytes
            batch.link_us = answer.link_us
            batch.queue_us = answer.times.queue_us
            batch.tail_us = answer.times.server_us - answer.times.queue_us
        batch.done = time.perf_counter_ns()
        return batch

    @property
    def _cut(self) -> Cut:
        assert self._split.cut is not None  # noqa: S101 - these stages exist only where there is a cut
        return self._split.cut

    def _files(self, batch: Batch, limit: int) -> Iterator[tuple[int, bytes]]:
        """The files that can be read, one at a time; the others become errors."""
        for position, name in enumerate(batch.images):
            batch.started.append(time.perf_counter_ns())
            try:
                file = self._root.read(name, limit)
            except FileNotFoundError:
                batch.errors[position] = "the file is gone"
            except TooLarge:
                batch.errors[position] = f"the file has more than {limit} bytes"
            except StorageFailed as error:
                if not any(entry.name == name for entry in self._root.entries(name)):
                    raise  # not this image alone: the storage is no longer there
                batch.errors[position] = str(error)
            else:
                batch.sizes[position] = len(file)
                yield position, file


def _watched(batches: Iterable[Batch], watch: Callable[[Batch], None]) -> Iterator[Batch]:
    for batch in batches:
        watch(batch)
        yield batch


def _by_shard(batches: Iterable[Batch]) -> Iterator[list[Batch]]:
    shard: list[Batch] = []
    for batch in batches:
        shard.append(batch)
        if batch.last:
            yield shard
            shard = []
