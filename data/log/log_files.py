"""The Parquet files of a run, read within the limits of `parquet/limits.py`: the records of a part, and the images."""

from collections.abc import Iterator

import pyarrow as pa

from hybrid_batch.data.images.images import IMAGES_SCHEMA
from hybrid_batch.data.log.parquet.decoded_values import check_values
from hybrid_batch.data.log.parquet.limits import (
    BATCH_ROWS,
    UnsafeParquet,
    check_row_group,
    leaf_columns,
    open_parquet,
)
from hybrid_batch.data.log.records import SCHEMA
from hybrid_batch.data.log.schema_versions import READABLE_VERSIONS, schema_version, upgrade

_SMALL_LIST_BYTES = 64 << 20
_EXPANSION = 64  # bytes in memory for a byte of a list of images; names of a camera take 8
_SMALL_LIST_ROWS = 1 << 20
_ROWS_PER_BYTE = 16


class OtherVersion(ValueError):
    """The records have a version of the schema that is not read; the message is the version."""


def read_records(source: pa.NativeFile, rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
    """Yield the records of a part, at most `rows` at once, with the columns of SCHEMA.

    Raises OtherVersion, UnsafeParquet, ArrowException and OSError."""
    file = open_parquet(source)
    if (version := schema_version(file.schema_arrow)) not in map(str, READABLE_VERSIONS):
        raise OtherVersion(version)
    columns = leaf_columns(file.metadata, set(SCHEMA.names))
    for group in range(file.num_row_groups):
        check_row_group(source, file.metadata, group, columns)
        for batch in file.iter_batches(min(rows, BATCH_ROWS), row_groups=[group], columns=list(columns)):
            check_values(batch)
            yield _in_schema(upgrade(batch), SCHEMA)


def read_images(source: pa.NativeFile) -> pa.Table:
    """The list of a run's images, a table of IMAGES_SCHEMA. Raises UnsafeParquet, ArrowException and OSError."""
    limit = max(_SMALL_LIST_BYTES, _EXPANSION * source.size())
    file = open_parquet(source, max_rows=_max_images(source.size()))
    columns = leaf_columns(file.metadata, set(IMAGES_SCHEMA.names))
    batches = []
    for group in range(file.num_row_groups):
        check_row_group(source, file.metadata, group, columns)
        for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=list(columns)):
            check_values(batch)
            limit -= batch.nbytes
            if limit < 0:
                raise UnsafeParquet(f"it takes more than {_EXPANSION} times its size in memory")
            batches.append(_in_schema(batch, IMAGES_SCHEMA))
    return pa.Table.from_batches(batches, IMAGES_SCHEMA)


def count_images(source: pa.NativeFile) -> int:
    """The number of images in the footer of their list. Raises UnsafeParquet, ArrowException and OSError."""
    return int(open_parquet(source, max_rows=_max_images(source.size())).metadata.num_rows)


def _max_images(size: int) -> int:
    return _SMALL_LIST_ROWS + _ROWS_PER_BYTE * size


def _in_schema(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The columns of a schema, in its types. Raises UnsafeParquet for a column that is missing or of another type."""
    if batch.schema.equals(schema):
        return batch
    columns = []
    for field in schema:
        if field.name not in batch.schema.names:
            raise UnsafeParquet(f"it has no column {field.name}")
        column = batch.column(field.name)
        try:
            columns.append(column if column.type == field.type else _cast(column, field.type))
        except pa.ArrowException as error:
            raise UnsafeParquet(f"its column {field.name} has the type {column.type}, not {field.type}") from error
        if not field.nullable and columns[-1].null_count:
            raise UnsafeParquet(f"its column {field.name} has nulls")
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _cast(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(kind):
        return column.cast(pa.string()).dictionary_encode().cast(kind)
    return column.cast(kind)
