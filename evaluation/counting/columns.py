"""The counted columns of records: their check, their types, and values derived from them."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.data.log.records import SCHEMA, SCHEMA_VERSION, STAGES, WAITS
from hybrid_batch.data.log.schema_versions import READABLE_VERSIONS, Records, added_columns, schema_version, upgrade
from hybrid_batch.evaluation.counting.counts import BYTE_COLUMNS, RUN_COLUMNS
from hybrid_batch.evaluation.report_schema import DEFAULT_SLICES

TIME_COLUMNS = tuple(f"{stage}_us" for stage in STAGES)
WAIT_COLUMNS = tuple(f"{wait}_us" for wait in WAITS)
DICTIONARY_COLUMNS = ("label", "prediction", *RUN_COLUMNS)
COLUMNS = (
    *("image", *DICTIONARY_COLUMNS, "confidence", "top5", "shard", *BYTE_COLUMNS, *TIME_COLUMNS, *WAIT_COLUMNS),
    *("started_at", "error"),
)
SLICEABLE_COLUMNS = tuple(name for name in ("folder", *SCHEMA.names) if name != "top5")
_SHORT_RUN = 32


class NotRecords(ValueError):
    """The table does not have the columns of records, or has another schema version; the message has the reason."""


def current_records(records: Records, by: Sequence[str] = ()) -> Records:
    """Records of any version of the schema, in the current one. Raises NotRecords for a table without the columns of
    records and the columns `by`."""
    version = schema_version(records.schema)
    if version not in map(str, READABLE_VERSIONS):
        raise NotRecords(
            f"its records have schema version {version}, and this hybrid-batch reads versions 1 to {SCHEMA_VERSION}"
        )
    required = (*COLUMNS, *(name for name in by if name not in DEFAULT_SLICES))
    added = added_columns(version)
    missing = [n for n in dict.fromkeys(required) if n not in records.schema.names and n not in added]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise NotRecords(f"it holds no records: it has no column {', '.join(missing[:3])}{more}")
    return upgrade(records) if version == "1" or added.intersection(by) else records  # others are not counted


def check_sliceable(by: Sequence[str]) -> None:
    """Raises WrongUsage for a name that is not a column of the log, or a column without slices."""
    for name in by:
        if name not in SLICEABLE_COLUMNS:
            near = get_close_matches(name, SLICEABLE_COLUMNS, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(SLICEABLE_COLUMNS)}."
            raise WrongUsage(f"The log has no column {name!r} to slice by; {hint}")


def typed_column(batch: pa.RecordBatch, name: str) -> pa.Array:
    """One column in the type of the schema; a dictionary column in any type that `Vocabulary.encode` takes."""
    column, schema_type = batch.column(name), SCHEMA.field(name).type
    if column.type == schema_type or pt.is_dictionary(schema_type):
        return column
    try:
        return column.cast(schema_type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise NotRecords(f"it holds no records: {error}") from error


def top5_labels(batch: pa.RecordBatch) -> tuple[pa.Array, pa.Array]:
    """The number of labels in each record's top 5 (null without a top 5), and all labels, concatenated."""
    lists = batch.column("top5")
    try:
        return pc.list_value_length(lists), lists.flatten().field("label")
    except (AttributeError, KeyError, pa.ArrowNotImplementedError) as error:
        raise NotRecords(f"it holds no records: its column top5 has the type {lists.type}") from error


def folders(images: pa.Array) -> pa.Array:
    """The folder of each image, empty at the root. Fast where images of one folder are adjacent, as in most logs."""
    if images.null_count:
        raise NotRecords("some of its records have no image")
    vocabulary: dict[str, int] = {}
    runs = [(vocabulary.setdefault(folder, len(vocabulary)), length) for folder, length in _folder_runs(images)]
    codes = np.repeat(np.array([code for code, _ in runs], np.int32), [length for _, length in runs])
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(list(vocabulary), pa.string()))


def _folder_runs(images: pa.Array) -> Iterator[tuple[str, int]]:
    """Folders in order, each with a number of adjacent images in it; adjacent runs may have the same folder.

    Each step reads a window twice as long as the last run. Where runs are short, it goes image by image.
    """
    start, window = 0, len(images)
    while start < len(images):
        if window <= _SHORT_RUN:
            few = images[start : start + 16 * _SHORT_RUN].to_pylist()
            yield from ((image.rpartition("/")[0], 1) for image in few)
            start, window = start + len(few), 4 * _SHORT_RUN
            continue
        candidates = images[start : start + window]
        folder, slash, _ = candidates[0].as_py().rpartition("/")
        other = pc.index(pc.starts_with(candidates, folder + slash), False).as_py()
        run = candidates if other < 0 else candidates[:other]
        # When the common prefix accounts for every slash, no image is in a folder below.
        if _count_slashes(run) == len(run) * (folder.count("/") + len(slash)):
            yield folder, len(run)
            start, window = start + len(run), 2 * len(run)
        else:
            window = len(run) // 2


def _count_slashes(images: pa.Array) -> int:
    _, offsets, letters = images.buffers()
    ends = np.frombuffer(offsets, np.int32)[images.offset : images.offset + len(images) + 1]
    return int(np.count_nonzero(np.frombuffer(letters, np.uint8)[ends[0] : ends[-1]] == ord("/")))
