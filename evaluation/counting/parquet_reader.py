"""Records from a Parquet file, as much at a time as is counted at a time."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from hybrid_batch.evaluation.counting.columns import COLUMNS, WORDS, NotRecords
from hybrid_batch.evaluation.report_schema import SLICED_BY

ROWS = 49_152  # fewer take longer, and more take more memory: see docs/decisions.md
_TOP5_LABELS = ("top5.", ".label")


def batches(file: pa.NativeFile, by: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
    """The counted columns of a Parquet file, and those of `by`, in batches. Raises NotRecords.

    Of the top 5 the labels alone are read: the scores are half of a record's bytes and nothing is counted of them.
    """
    try:
        metadata = pq.read_metadata(file)
        schema = metadata.schema
        paths = [schema.column(place).path for place in range(len(schema))]
        labels = [path for path in paths if path.startswith(_TOP5_LABELS[0]) and path.endswith(_TOP5_LABELS[1])]
        wanted = [*labels, *COLUMNS, *(name for name in by if name not in SLICED_BY)]
        found = [path for path in paths if path in wanted]
        yield from _batches(file, metadata, found, [path for path in found if path in (*labels, *WORDS)])
    except (pa.ArrowException, OSError) as error:
        raise NotRecords(f"it is not a readable Parquet file ({' '.join(str(error).split())})") from error


def _batches(
    file: pa.NativeFile, metadata: pq.FileMetaData, paths: list[str], words: list[str]
) -> Iterator[pa.RecordBatch]:
    # Words come as codes of a dictionary, which takes a third of the time, but of nested columns only as long as
    # the file has one dictionary for a row group. Very many classes overflow it; then they come as texts.
    coded = pq.ParquetFile(file, metadata=metadata, read_dictionary=words)
    for group in range(coded.num_row_groups):
        given = 0
        try:
            for batch in coded.iter_batches(ROWS, row_groups=[group], columns=paths, use_threads=False):
                yield batch
                given += 1
        except pa.ArrowNotImplementedError:
            plain = pq.ParquetFile(file, metadata=metadata)
            for place, batch in enumerate(
                plain.iter_batches(ROWS, row_groups=[group], columns=paths, use_threads=False)
            ):
                if place >= given:
                    yield batch
