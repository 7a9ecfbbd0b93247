"""The versions of the records' schema, and the upgrade of records of an earlier version."""

from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from hybrid_batch.data.log.records import LOCAL_TAIL, SCHEMA, SCHEMA_VERSION, VERSION_KEY

Records = TypeVar("Records", pa.Table, pa.RecordBatch)
_NETWORK_BYTES = ("sent_bytes", "received_bytes")
SINCE_VERSION_2 = frozenset(
    (
        *("label_source", "model", "bundle", "run_id", "shard", "batch_number", "width", "height", "cut_bytes"),
        *("batch_wait_us", "head_wait_us", "encode_wait_us", "send_wait_us"),
    )
)
SINCE_VERSION_3 = frozenset(("image_hash",))
READABLE_VERSIONS = range(1, SCHEMA_VERSION + 1)


def schema_version(schema: pa.Schema) -> str:
    """Return the version in the metadata of a schema. Records that another program wrote have none: those with a column
    of version 3 are of version 3, and those with a column of version 2 of version 2."""
    stored: bytes | None = (schema.metadata or {}).get(VERSION_KEY.encode())
    if stored is not None:
        return stored.decode(errors="replace")
    names = set(schema.names)
    return "3" if SINCE_VERSION_3 & names else "2" if SINCE_VERSION_2 & names else "1"


def added_columns(version: str) -> frozenset[str]:
    """The columns that a version lacks."""
    return {"1": SINCE_VERSION_2 | SINCE_VERSION_3, "2": SINCE_VERSION_3}.get(version, frozenset())


def upgrade(records: Records) -> Records:
    """Return records in the current version of the schema; those of the current version unchanged.

    `records` may have a selection of the columns; with `sent_bytes` or `received_bytes` it needs `tail`. Earlier
    versions get null for the columns that they lack. In version 1, `sent_bytes` is what crossed the cut, also where the
    tail ran in the same process: it becomes `cut_bytes`, and the bytes of a network are 0 for these records. Columns of
    other programs follow those of the schema."""
    version = schema_version(records.schema)
    lacking = added_columns(version)
    if not lacking:
        return records
    columns = dict(zip(records.schema.names, records.columns, strict=True))
    if version == "1" and "sent_bytes" in columns:
        columns["cut_bytes"] = columns["sent_bytes"]
    for name in lacking - columns.keys():
        columns[name] = pa.nulls(records.num_rows, SCHEMA.field(name).type)
    for name in columns.keys() & set(_NETWORK_BYTES) if version == "1" else ():
        ran_locally = pc.equal(columns["tail"].cast(pa.string()), LOCAL_TAIL)
        columns[name] = pc.if_else(pc.fill_null(ran_locally, False), pa.scalar(0, columns[name].type), columns[name])
    order = [name for name in SCHEMA.names if name in columns]
    order += [name for name in columns if name not in order]
    return type(records).from_arrays(
        [columns[name] for name in order],
        schema=pa.schema([_field(name, columns[name].type) for name in order], metadata=SCHEMA.metadata),
    )


def _field(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=name not in SCHEMA.names or SCHEMA.field(name).nullable)
