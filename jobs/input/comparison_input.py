"""The two sides of a comparison: what every engine shares out, deals to buckets and joins."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from hybrid_batch.data.errors import HybridBatchError, NotARun, WrongUsage
from hybrid_batch.data.log.records import PART_NAME
from hybrid_batch.data.log.runs import RunFolder
from hybrid_batch.data.storage.storage import open_storage
from hybrid_batch.evaluation.comparison import run_join as pairing
from hybrid_batch.evaluation.comparison.run_join import SIDES, Bag
from hybrid_batch.evaluation.counting.columns import NotRecords, check_sliceable
from hybrid_batch.evaluation.counting.parquet_reader import batches
from hybrid_batch.jobs.input.part_list import find_work

BUCKET_ROWS = 200_000  # of both runs together; joining takes about 600 bytes of memory for each
_BAG = b"bag"


@dataclass(frozen=True, slots=True)
class SidePart:
    """A part of one of the two runs, by names that mean the same in any process."""

    side: str
    run: str
    index: int


@dataclass(frozen=True, slots=True)
class Comparing:
    """All that is to be compared: the parts, how many buckets their images are dealt to, the columns to slice by."""

    parts: list[SidePart]
    buckets: int
    by: tuple[str, ...]
    skip_bad: bool
    notes: list[str]


def find_comparing(uris: Sequence[str], by: Sequence[str] = (), skip_bad: bool = False) -> Comparing:
    """The parts of two runs, each a folder `LOG/run=ID` or a LOG that holds a single run.

    Raises NotARun, WrongUsage, StorageFailed.
    """
    if len(uris) != len(SIDES):
        raise WrongUsage(f"Two runs are compared, not {len(uris)}; name RUN_A and RUN_B.")
    check_sliceable(by)
    parts: list[SidePart] = []
    notes: list[str] = []
    rows = 0
    for side, uri in zip(SIDES, uris, strict=True):
        work = find_work([uri])
        parts += [SidePart(side, part.run, part.index) for part in work.parts]
        notes += work.notes
        size = RunFolder(open_storage(work.parts[0].run)).settings().get("shard_size")
        rows += len(work.parts) * (size if isinstance(size, int) else BUCKET_ROWS)
    return Comparing(parts, 1 + rows // BUCKET_ROWS, tuple(dict.fromkeys(by)), skip_bad, notes)


def deal_part(part: SidePart, buckets: int, by: Sequence[str], skip_bad: bool = False) -> Iterator[tuple[int, bytes]]:
    """The records of a part by bucket, each piece a line of ASCII; a batch of them is held at a time.

    Of a part that cannot be read the last piece says so; with `skip_bad` it is also the first.
    """
    try:
        if skip_bad:  # read it twice: what is dealt cannot be taken back
            for _ in _records(part, by):
                pass
        for records in _records(part, by):
            for bucket, dealt in pairing.deal(records, buckets):
                yield bucket, part.side.encode() + b" " + pairing.table_to_bytes(dealt)
    except NotRecords as error:
        name = PART_NAME.format(part.index)
        broken = NotARun(
            f"{part.run}/{name} cannot be compared: {error}; remove it, and the same `hybrid-batch run` makes it again."
        )
        yield 0, _bad(broken)
    except HybridBatchError as error:
        yield 0, _bad(error)


def _records(part: SidePart, by: Sequence[str]) -> Iterator[pa.Table]:
    with RunFolder(open_storage(part.run)).open_part(part.index) as file:
        for batch in batches(file, by):
            yield pairing.select(pa.Table.from_batches([batch]), by)


def join_bucket(pieces: Iterable[bytes], by: Sequence[str]) -> Bag:
    """The bag of all the pieces of a bucket."""
    tables: dict[str, list[pa.Table]] = {side: [pairing.no_records(by)] for side in SIDES}
    bags: list[Bag] = []
    for piece in pieces:
        kind, _, line = piece.partition(b" ")
        if kind == _BAG:
            bags.append(pairing.from_bytes(line))
        else:
            tables[kind.decode()].append(pairing.table_from_bytes(line))
    return pairing.merge([*bags, pairing.count(*(pa.concat_tables(tables[side]) for side in SIDES))])


def _bad(error: Exception) -> bytes:
    return _BAG + b" " + pairing.to_bytes(pairing.bad_part(str(error)))
