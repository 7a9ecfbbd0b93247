"""The runner: images through head, link and tail into the log, everything at once and nothing twice."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from hybrid_batch.data.errors import OtherBundle, StorageFailed, TailUnreachable, TooLarge
from hybrid_batch.data.images.decode import CannotDecode, decode
from hybrid_batch.data.images.images import Images
from hybrid_batch.data.log.records import to_table
from hybrid_batch.data.log.runs import RunFolder, shards
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import Cut
from hybrid_batch.inference.model.datatypes import NUMPY
from hybrid_batch.inference.model.runtimes import Engine, Segment, compile_head, compile_tail
from hybrid_batch.inference.protocol import codecs
from hybrid_batch.inference.protocol.codecs.jpeg import recompress
from hybrid_batch.inference.protocol.infer_response import Answer
from hybrid_batch.inference.protocol.wire import Frame
from hybrid_batch.inference.runner.batch import Batch, Made, plan_batches, to_records
from hybrid_batch.inference.runner.drain import Finishing
from hybrid_batch.inference.runner.pipeline import Pipeline
from hybrid_batch.inference.runner.routing import Follow
from hybrid_batch.inference.runner.split import HERE, LOCAL, Split
from hybrid_batch.inference.runner.totals import Totals
from hybrid_batch.inference.tails import Tail
from hybrid_batch.inference.tails.local import LocalTail

IMAGE_LIMIT_BYTES = 256 << 20
PICTURE_LIMIT_BYTES = 32 << 20  # of a picture that travels; servers refuse requests above 64 MiB
BOUNDARY_BYTES = 32 << 20
_SEND = "send"
_HEADER_BYTES = 1 << 14  # at most, of a frame
_HELD = 256  # scores of batches that are done while the tail still has an earlier one
_Stage = Callable[[Batch], Batch]


@dataclass(frozen=True, slots=True)
class Pace:
    """How much is done at once: sizes in images, threads and requests. None changes a prediction."""

    batch_size: int
    in_flight: int = 4
    decoders: int = os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class Job:
    """Everything a run needs, opened and checked. `tail_name` is the record's `tail`. With `follow` the split is what
    that says, batch by batch; otherwise it is `split`."""

    bundle: Bundle
    split: Split
    engine: Engine
    tail: Tail
    tail_name: str
    images: Images
    folder: RunFolder
    shard_size: int
    pace: Pace
    follow: Follow | None = None


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

    work = _Work(job)

    def commit(shard: list[Batch]) -> pa.Table:
        records = to_table([record for batch in shard for record in to_records(batch, job.bundle, _made(job, batch))])
        return records if folder.commit(shard[0].shard, records) else folder.read_part(shard[0].shard)

    images = sum(len(rows) for _, rows in missing)
    following = job.follow.running(images, work.compile) if job.follow else nullcontext()
    # Who follows ends first: batches may be waiting for what it measures.
    with work.finishing, Pipeline() as pipeline, following:
        batches: Iterator[Batch] = plan_batches(table, missing, lambda: _route(job))
        for name, stage, workers, held in _stages(job, work):
            patient = name != _SEND or isinstance(job.tail, LocalTail)  # who waits for others may be left waiting
            batches = pipeline.overlap(stage, batches, name=name, workers=workers, held=held, patient=patient)
        whole = _by_shard(_watched(batches, watch))
        for records in pipeline.overlap(commit, whole, name="write", workers=2, ahead=0):
            totals.add(records)
    folder.finish(totals.to_dict())
    return totals


def _route(job: Job) -> tuple[Split, int]:
    """How the next batch goes, and its size: less where the boundary is so large that a frame would be refused."""
    split, size = (job.split, job.pace.batch_size)
    if job.follow is not None:
        route = job.follow.route()
        split, size = route.split, route.batch_size
    if split.cut is None or split.codec in codecs.PICTURE_CODECS:
        return split, size
    return split, max(1, min(size, BOUNDARY_BYTES // codecs.decoded_bytes(split.cut.boundary, 1)))


def _made(job: Job, batch: Batch) -> Made:
    here = batch.kept or batch.split.cut is None
    return Made(batch.split.name, batch.split.codec, LOCAL if here else job.tail_name)


def _stages(job: Job, work: "_Work") -> list[tuple[str, _Stage, int, int]]:
    """Name, work, threads and finished batches held for slower ones before them, of each stage in order; those that
    have nothing to do are left out. What stays here passes the senders too: there is one more than requests may fly."""
    cut, following = job.split.cut, job.follow is not None
    here = following or cut is not job.bundle.whole
    away = following or cut is not None
    return [
        ("decode", work.decode, job.pace.decoders, 0),
        *([("head", work.head, 1, 0)] if here else []),
        *(
            [
                ("encode", work.encode, 1, 0),
                (_SEND, work.send, job.pace.in_flight + following, _HELD if following else 0),
            ]
            if away
            else []
        ),
    ]


class _Work:
    """What each stage does to a batch, as its split says. Of a fixed split what is needed is compiled here."""

    def __init__(self, job: Job) -> None:
        self._job, self._bundle, self._root = job, job.bundle, job.images.root
        self._dtype = NUMPY[job.bundle.input.datatype]
        self._heads: dict[str, Segment] = {}
        self.finishing = Finishing()  # of threads that may else wait for the tail, and are not waited for
        self._here = LocalTail(job.bundle, job.engine) if job.follow is not None else None
        self.compile(job.split)
        if job.follow is not None:
            self.compile(HERE)

    def compile(self, split: Split) -> None:
        """Make ready for batches of a split. Raises TooLate when the run is over."""
        bundle, engine = self._bundle, self._job.engine
        if split.name in self._heads or split.cut is bundle.whole:
            return
        with self.finishing.work():
            made = compile_head(engine, bundle, split.cut) if split.cut else compile_tail(engine, bundle, bundle.whole)
            self._heads[split.name] = made

    def decode(self, batch: Batch) -> Batch:
        """Pictures to pixels (images, H, W, C) as the model wants them, or picture files as they are."""
        start = time.perf_counter_ns()
        if batch.split.codec == codecs.IMAGE:
            limit = PICTURE_LIMIT_BYTES if self._job.follow is None else IMAGE_LIMIT_BYTES
            batch.load = [file for _, file in self._files(batch, limit)]
        elif batch.split.codec in codecs.PICTURE_CODECS:
            batch.load = list(self._recompressed(batch))
        else:
            batch.load = self._pixels(batch, self._files(batch, IMAGE_LIMIT_BYTES))
        batch.decode_ns = time.perf_counter_ns() - start
        return batch

    def head(self, batch: Batch) -> Batch:
        """Pixels to boundary tensors; of a batch that stays here, to scores."""
        if self._job.follow is not None:
            meant, batch.split = batch.split, self._job.follow.admit(batch)
            batch.kept = batch.split.cut is None
            if batch.kept and meant.codec in codecs.PICTURE_CODECS:
                start = time.perf_counter_ns()
                whole = meant.codec == codecs.IMAGE  # else smaller files were made of them
                files = zip(batch.good, batch.load, strict=True) if whole else self._files(batch, IMAGE_LIMIT_BYTES)
                batch.load = self._pixels(batch, files)
                batch.decode_ns += time.perf_counter_ns() - start
        start = time.perf_counter_ns()
        if batch.good and batch.split.cut is not self._bundle.whole:
            batch.load = self._heads[batch.split.name]([batch.load])
            batch.head_ns = time.perf_counter_ns() - start
        if batch.split.cut is None:
            batch.load = batch.load[0] if batch.good else None
            batch.done = time.perf_counter_ns()
        return batch

    def encode(self, batch: Batch) -> Batch:
        """Boundary tensors, or pixels or picture files where the whole model is remote, to a frame."""
        cut, codec = batch.split.cut, batch.split.codec
        if cut is None or not batch.good:
            return batch
        start = time.perf_counter_ns()
        if codec in codecs.PICTURE_CODECS:
            batch.load = Frame(codecs.encode_pictures(self._bundle.input, batch.load))
        else:
            tensors = batch.load if isinstance(batch.load, list) else [batch.load]
            batch.load = Frame(codecs.encode(codec, cut.boundary, tensors))
        batch.encode_ns = time.perf_counter_ns() - start
        return batch

    def send(self, batch: Batch) -> Batch:
        """A frame to scores, through the tail."""
        if batch.split.cut is not None and batch.good:
            answer = self._ask(batch, batch.split.cut)
            batch.load = answer.scores[[error is None for error in answer.errors]]
            batch.errors |= {at: error for at, error in zip(batch.good, answer.errors, strict=True) if error}
            batch.sent_bytes, batch.received_bytes = answer.sent_bytes, answer.received_bytes
            batch.link_us = answer.link_us
            batch.queue_us = answer.times.queue_us
            batch.tail_us = answer.times.server_us - answer.times.queue_us
        if batch.split.cut is not None:
            batch.done = time.perf_counter_ns()
        if self._job.follow is not None:
            self._job.follow.answered(batch)
        return batch

    def _ask(self, batch: Batch, cut: Cut) -> Answer:
        """The tail's answer; where work is followed and the tail is away, or the frame too large for the way there, the
        same from this machine."""
        follow = self._job.follow
        if follow is None or self._here is None:
            return self._job.tail.infer(cut.id, batch.load)
        room = self._job.tail.room
        if room is not None and sum(len(tensor.data) for tensor in batch.load.tensors) + _HEADER_BYTES > room:
            return self._keep(batch, cut, self._here)
        follow.sending(batch)
        try:
            return self._job.tail.infer(cut.id, batch.load)
        except (TailUnreachable, OtherBundle) as error:
            follow.lost(batch, error)
            return self._keep(batch, cut, self._here)

    def _keep(self, batch: Batch, cut: Cut, here: LocalTail) -> Answer:
        with self.finishing.work():
            batch.kept = True
            return replace(here.infer(cut.id, batch.load), sent_bytes=0, received_bytes=0)

    def _recompressed(self, batch: Batch) -> Iterator[bytes]:
        """The pictures as smaller files; those that cannot be decoded become errors."""
        for position, file in self._files(batch, IMAGE_LIMIT_BYTES):
            try:
                yield recompress(file, self._bundle.preparation, batch.split.codec)
            except CannotDecode as error:
                batch.errors[position] = str(error)

    def _pixels(self, batch: Batch, files: Iterable[tuple[int, bytes]]) -> np.ndarray:
        """What of these files can be decoded; the others become errors."""
        pixels = np.empty((len(batch.images), *self._bundle.input.shape), self._dtype)
        filled = 0
        for position, file in files:
            try:
                pixels[filled] = decode(file, self._bundle.preparation)
                filled += 1
            except CannotDecode as error:
                batch.errors[position] = str(error)
        return pixels[:filled]

    def _files(self, batch: Batch, limit: int) -> Iterator[tuple[int, bytes]]:
        """The files without error yet that can be read, one at a time; the others become errors."""
        for position, name in enumerate(batch.images):
            if position in batch.errors:
                continue
            if position == len(batch.started):
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
