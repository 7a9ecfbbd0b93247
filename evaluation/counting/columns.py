"""The columns of records that are counted, checked and brought into one form."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.data.log.records import SCHEMA, SCHEMA_VERSION, STAGES
from hybrid_batch.evaluation.counting.counts import BYTES
from hybrid_batch.evaluation.report_schema import SLICED_BY

TIMES = tuple(f"{stage}_us" for stage in STAGES)
COUNTED = ("image", "label", "prediction", "confidence", "top5", "cut", "codec", "tail", *BYTES, *TIMES)
COLUMNS = (*COUNTED, "started_at", "error")
SLICEABLE = tuple(name for name in ("folder", *SCHEMA.names) if name != "top5")
WORDS = ("label", "prediction", "cut", "codec", "tail")
_FEW = 32


class NotRecords(ValueError):
    """The table is not one of records, or of another version of their schema; the message says why."""


def check(schema: pa.Schema, by: Sequence[str] = ()) -> None:
    """Raises NotRecords when a table of this schema has not the columns of records, or those of `by`."""
    version = (schema.metadata or {}).get(b"hybrid_batch.schema", str(SCHEMA_VERSION).encode()).decode()
    if version != str(SCHEMA_VERSION):
        raise NotRecords(
            f"its records are of schema version {version}, of which this hybrid-batch, that reads version "
            f"{SCHEMA_VERSION}, knows nothing"
        )
    wanted = (*COLUMNS, *(name for name in by if name not in SLICED_BY))
    missing = [name for name in dict.fromkeys(wanted) if name not in schema.names]
    if missing:
        more = f", nor {len(missing) - 3} more" if len(missing) > 3 else ""
        raise NotRecords(f"it holds no records: it has no column {', '.join(missing[:3])}{more}")


def check_sliceable(by: Sequence[str]) -> None:
    """Raises WrongUsage for a name of no column of the log that can be sliced by."""
    for name in by:
        if name not in SLICEABLE:
            near = get_close_matches(name, SLICEABLE, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(SLICEABLE)}."
            raise WrongUsage(f"The log has no column {name!r} to slice by; {hint}")


def column(batch: pa.RecordBatch, name: str) -> pa.Array:
    """One column in the type of the schema; words may be of any type, to be read as `Words` does."""
    found, wanted = batch.column(name), SCHEMA.field(name).type
    if found.type == wanted or pt.is_dictionary(wanted):
        return found
    try:
        return found.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise NotRecords(f"it holds no records: {error}") from error


def top5(batch: pa.RecordBatch) -> tuple[pa.Array, pa.Array]:
    """The number of labels in each record's top 5 (null where it has none), and all of these labels in a row."""
    lists = batch.column("top5")
    try:
        return pc.list_value_length(lists), lists.flatten().field("label")
    except (AttributeError, KeyError, pa.ArrowNotImplementedError) as error:
        raise NotRecords(f"it holds no records: its top5 is of {lists.type}") from error


def folders(images: pa.Array) -> pa.Array:
    """The folder of each image, `` at the root. Images of one folder mostly stand together, which makes it fast."""
    if images.null_count:
        raise NotRecords("some of its records have no image")
    words: dict[str, int] = {}
    runs = [(words.setdefault(folder, len(words)), length) for folder, length in _runs(images)]
    codes = np.repeat(np.array([code for code, _ in runs], np.int32), [length for _, length in runs])
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(list(words), pa.string()))


def _runs(images: pa.Array) -> Iterator[tuple[str, int]]:
    """Folders in order, each with how many images in a row are in it, or some of them.

    Each step looks at a window twice as long as the last run. Where runs are short, it goes image by image.
    """
    start, window = 0, len(images)
    while start < len(images):
        if window <= _FEW:
            few = images[start : start + 16 * _FEW].to_pylist()
            yield from ((image.rpartition("/")[0], 1) for image in few)
            start, window = start + len(few), 4 * _FEW
            continue
        seen = images[start : start + window]
        folder, slash, _ = seen[0].as_py().rpartition("/")
        other = pc.index(pc.starts_with(seen, folder + slash), False).as_py()
        run = seen if other < 0 else seen[:other]
        # A prefix that accounts for every slash there is leaves none for folders below it.
        if _slashes(run) == len(run) * (folder.count("/") + len(slash)):
            yield folder, len(run)
            start, window = start + len(run), 2 * len(run)
        else:
            window = len(run) // 2


def _slashes(images: pa.Array) -> int:
    _, offsets, letters = images.buffers()
    ends = np.frombuffer(offsets, np.int32)[images.offset : images.offset + len(images) + 1]
    return int(np.count_nonzero(np.frombuffer(letters, np.uint8)[ends[0] : ends[-1]] == ord("/")))
