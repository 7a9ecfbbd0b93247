"""Records of a Parquet file, in batches of the size that is counted at once."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from hybrid_batch.data.errors import one_line
from hybrid_batch.evaluation.counting.columns import COLUMNS, DICTIONARY_COLUMNS, NotRecords
from hybrid_batch.evaluation.report_schema import DEFAULT_SLICES

BATCH_ROWS = 49_152  # fewer take more time, more take more memory: see docs/decisions.md
_TOP5_LABELS = ("top5.", ".label")


def read_batches(file: pa.NativeFile, by: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
    """The counted columns of a Parquet file and the columns `by`, in batches. Raises NotRecords.

    Only the labels of the top 5 are read: the scores are half of a record's bytes and are not counted.
    """
    try:
        metadata = pq.read_metadata(file)
        schema = metadata.schema
        paths = [schema.column(place).path for place in range(len(schema))]
        labels = [path for path in paths if path.startswith(_TOP5_LABELS[0]) and path.endswith(_TOP5_LABELS[1])]
        counted = {*labels, *COLUMNS, *(name for name in by if name not in DEFAULT_SLICES)}
        selected = [path for path in paths if path in counted]
        encoded = [path for path in selected if path in (*labels, *DICTIONARY_COLUMNS)]
        yield from _read_selected(file, metadata, selected, encoded)
    except (pa.ArrowException, OSError) as error:
        raise NotRecords(f"it is not a readable Parquet file ({one_line(error)})") from error


def _read_selected(
    file: pa.NativeFile, metadata: pq.FileMetaData, paths: list[str], encoded: list[str]
) -> Iterator[pa.RecordBatch]:
    # Reading `encoded` columns as dictionary codes takes a third of the time. Arrow can do so for nested columns only
    # while a row group has one dictionary. Thousands of classes exceed it; then the columns are read as text.
    dictionaries = pq.ParquetFile(file, metadata=metadata, read_dictionary=encoded)
    for group in range(dictionaries.num_row_groups):
        yielded = 0
        try:
            for batch in dictionaries.iter_batches(BATCH_ROWS, row_groups=[group], columns=paths, use_threads=False):
                yield batch
                yielded += 1
        except pa.ArrowNotImplementedError:
            texts = pq.ParquetFile(file, metadata=metadata)
            batches = texts.iter_batches(BATCH_ROWS, row_groups=[group], columns=paths, use_threads=False)
            for place, batch in enumerate(batches):
                if place >= yielded:
                    yield batch
