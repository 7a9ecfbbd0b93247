"""Records of a Parquet file, in batches of the size that is counted at once."""

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from hybrid_batch.data.errors import one_line
from hybrid_batch.data.log.parquet.decoded_values import check_values
from hybrid_batch.data.log.parquet.limits import (
    BATCH_ROWS,
    UnsafeParquet,
    check_row_group,
    leaf_columns,
    open_parquet,
)
from hybrid_batch.evaluation.counting.columns import COLUMNS, DICTIONARY_COLUMNS, NotRecords
from hybrid_batch.evaluation.report_schema import DEFAULT_SLICES

_TOP5_LABELS = ("top5.", ".label")
_ENCODED = (*DICTIONARY_COLUMNS, "top5.list.element.label")  # in files that Arrow wrote


def read_batches(file: pa.NativeFile, by: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
    """The counted columns of a Parquet file and the columns `by`, in batches, within the limits of a log. Raises
    NotRecords.

    Only the labels of the top 5 are read: the scores are half of a record's bytes and are not counted.
    """
    try:
        # Reading columns as dictionary codes takes a third of the time. Arrow can do so for nested columns only while a
        # row group has one dictionary. Thousands of classes exceed it; then the columns are read as text.
        encoded = open_parquet(file, _ENCODED)
        metadata = encoded.metadata
        leaves = leaf_columns(metadata, {*COLUMNS, *(name for name in by if name not in DEFAULT_SLICES)})
        selected = {path: number for path, number in leaves.items() if _is_counted(path)}
        wanted = [path for path in selected if path in DICTIONARY_COLUMNS or path.startswith(_TOP5_LABELS[0])]
        if {*wanted} != {*_ENCODED}:
            encoded = pq.ParquetFile(file, metadata=metadata, read_dictionary=wanted)
        for group in range(metadata.num_row_groups):
            check_row_group(file, metadata, group, selected)
            for batch in _read_group(file, encoded, group, selected):
                check_values(batch)
                yield batch
    except UnsafeParquet as error:
        raise NotRecords(str(error)) from error
    except (pa.ArrowException, OSError) as error:
        raise NotRecords(f"it is not a readable Parquet file ({one_line(error)})") from error


def _is_counted(path: str) -> bool:
    return not path.startswith(_TOP5_LABELS[0]) or path.endswith(_TOP5_LABELS[1])


def _read_group(
    file: pa.NativeFile, encoded: pq.ParquetFile, group: int, selected: Mapping[str, int]
) -> Iterator[pa.RecordBatch]:
    places, yielded = list(selected.values()), 0
    try:
        # `iter_batches` of ParquetFile finds the columns by their names, in a third of the time that reading takes.
        for batch in encoded.reader.iter_batches(BATCH_ROWS, [group], column_indices=places, use_threads=False):
            yield batch
            yielded += 1
    except pa.ArrowNotImplementedError:
        texts = pq.ParquetFile(file, metadata=encoded.metadata)
        batches = texts.reader.iter_batches(BATCH_ROWS, [group], column_indices=places, use_threads=False)
        for place, batch in enumerate(batches):
            if place >= yielded:
                yield batch
