"""The input of a comparison: the parts of two runs, their partition into buckets, and the join of a bucket."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from hybrid_batch.data.errors import HybridBatchError, NotARun, WrongUsage
from hybrid_batch.data.log.parquet.limits import MAX_ROWS
from hybrid_batch.data.log.records import PART_NAME
from hybrid_batch.data.log.runs import RunFolder
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.evaluation.comparison import run_join
from hybrid_batch.evaluation.comparison.run_join import SIDES, JoinCounts
from hybrid_batch.evaluation.counting.columns import NotRecords, check_sliceable
from hybrid_batch.evaluation.counting.counts import decode_table, encode_table
from hybrid_batch.evaluation.counting.parquet_reader import read_batches
from hybrid_batch.jobs.input.part_list import list_parts

BUCKET_ROWS = 200_000  # of both runs together; the join takes about 600 bytes of memory for each
_COUNTS = b"counts"  # marks a piece that has counts, not records


@dataclass(frozen=True, slots=True)
class SidePart:
    """A part of one of the two runs. `run` is an absolute path or a URI, so that it is valid in every process.
    `most_rows` is the number of records that the buckets have room for."""

    side: str
    run: str
    index: int
    most_rows: int


@dataclass(frozen=True, slots=True)
class ComparisonInput:
    """The parts of both runs, the number of buckets of their images, and the columns to slice by."""

    parts: list[SidePart]
    buckets: int
    by: tuple[str, ...]
    skip_unreadable: bool
    notes: list[str]


def list_comparison_input(
    uris: Sequence[str], by: Sequence[str] = (), skip_unreadable: bool = False
) -> ComparisonInput:
    """The input for two runs, each a folder `LOG/run=ID` or a LOG that holds a single run.

    Raises NotARun, WrongUsage, StorageFailed.
    """
    if len(uris) != len(SIDES):
        raise WrongUsage(f"A comparison takes two runs, not {len(uris)}; name RUN_A and RUN_B.")
    check_sliceable(by)
    parts: list[SidePart] = []
    notes: list[str] = []
    rows = 0
    for side, uri in zip(SIDES, uris, strict=True):
        run = list_parts([uri])
        notes += run.notes
        size = RunFolder(open_storage(run.parts[0].run)).settings().get("shard_size")
        most_rows = min(size, MAX_ROWS) if isinstance(size, int) else BUCKET_ROWS
        parts += [SidePart(side, part.run, part.index, most_rows) for part in run.parts]
        rows += len(run.parts) * most_rows
    return ComparisonInput(parts, 1 + rows // BUCKET_ROWS, tuple(dict.fromkeys(by)), skip_unreadable, notes)


def partition_part(
    part: SidePart, buckets: int, by: Sequence[str], skip_unreadable: bool = False
) -> Iterator[tuple[int, bytes]]:
    """Pieces of a part by bucket, each one line of ASCII. One batch of records is in memory at a time.

    For an unreadable part the last piece reports the error; with `skip_unreadable` it is the only piece.
    """
    try:
        if skip_unreadable:  # read the part twice: pieces that have been yielded cannot be withdrawn
            for _ in _read_records(part, by):
                pass
        for records in _read_records(part, by):
            for bucket, piece in run_join.partition(records, buckets):
                yield bucket, part.side.encode() + b" " + encode_table(piece)
    except NotRecords as error:
        name = PART_NAME.format(part.index)
        broken = NotARun(
            f"{part.run}/{name} cannot be compared: {error}; remove it, and repeat the same `hybrid-batch run`."
        )
        yield 0, _encode_error(broken)
    except HybridBatchError as error:
        yield 0, _encode_error(error)


def join_bucket(pieces: Iterable[bytes], by: Sequence[str]) -> JoinCounts:
    """The counts of all pieces of one bucket."""
    tables: dict[str, list[pa.Table]] = {side: [run_join.empty_table(by)] for side in SIDES}
    errors: list[JoinCounts] = []
    for piece in pieces:
        kind, _, line = piece.partition(b" ")
        if kind == _COUNTS:
            errors.append(run_join.decode_join_counts(line))
        else:
            tables[kind.decode()].append(decode_table(line))
    a, b = (pa.concat_tables(tables[side]) for side in SIDES)
    return run_join.merge_join_counts([*errors, run_join.join_and_count(a, b)])


def _read_records(part: SidePart, by: Sequence[str]) -> Iterator[pa.Table]:
    rows = 0
    with RunFolder(open_storage(part.run)).open_part(part.index) as file:
        for batch in read_batches(file, by):
            rows += batch.num_rows
            if rows > part.most_rows:
                raise NotRecords(f"it has more records than the shard size of its run, {part.most_rows:,}")
            yield run_join.select_columns(pa.Table.from_batches([batch]), by)


def _encode_error(error: Exception) -> bytes:
    return _COUNTS + b" " + run_join.encode_join_counts(run_join.count_bad_part(str(error)))
