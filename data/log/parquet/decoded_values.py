"""Limits of the values of a decoded batch of records, before they are numbered and added up."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hybrid_batch.data.log.parquet.limits import (
    MAX_NUMBER,
    MAX_TOP,
    MAX_WORD_BYTES,
    UnsafeParquet,
    require_at_most,
)

_LAST_US = 253_402_300_799_999_999  # the end of the year 9999
_DICTIONARY, _LIST = pa.dictionary(pa.int32(), pa.string()).id, pa.list_(pa.int8()).id
_TIMESTAMP = pa.timestamp("us").id
_TEXTS = frozenset((pa.string().id, pa.large_string().id, pa.string_view().id))
_NUMBERS = frozenset((pa.int64().id, _TIMESTAMP))


def check_values(batch: pa.RecordBatch) -> None:
    """Check a decoded batch: the encoding and the lengths of words, places in dictionaries, which Arrow does not check,
    lengths of lists, numbers and times. Raises UnsafeParquet."""
    for field, column in zip(batch.schema, batch.columns, strict=True):
        kind, words = field.type.id, column
        if kind == _DICTIONARY:
            words = column.dictionary
            kind = words.type.id
            _check_places(field.name, column.indices, len(words))
        if kind in _TEXTS:
            _check_texts(field.name, words)
        elif kind in _NUMBERS:
            _check_numbers(field.name, words)
        elif kind == _LIST and pa.types.is_struct(words.type.value_type):
            _check_lists(field.name, words)


def _check_places(name: str, places: pa.Array, words: int) -> None:
    if places.null_count:
        ends = pc.min_max(places)
        low, high = (ends[end].as_py() or 0 for end in ("min", "max"))
        words += places.null_count == len(places)
    elif len(places):
        values = places.to_numpy()
        low, high = int(values.min()), int(values.max())
    else:
        return
    if low < 0 or high >= words:
        raise UnsafeParquet(f"its column {name} has a place outside its dictionary of {words:,} words")


def _check_lists(name: str, lists: pa.Array) -> None:
    longest = pc.max(pc.list_value_length(lists)).as_py() or 0
    require_at_most(longest, MAX_TOP, f"its column {name} has a list of {{}} values")
    for place, field in enumerate(lists.type.value_type):
        if not pa.types.is_floating(field.type):
            check_values(pa.record_batch([lists.flatten().field(place)], [f"{name}.{field.name}"]))


def _check_numbers(name: str, column: pa.Array) -> None:
    if column.type.id == _TIMESTAMP:
        column = column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64())
        first, last, clause = 0, _LAST_US, "a time outside the years 1970 to 9999"
    else:
        first, last, clause = -MAX_NUMBER, MAX_NUMBER, f"a number beyond {MAX_NUMBER:,}"
    numbers = (column.drop_null() if column.null_count else column).to_numpy()
    # One pass over the bits shows that no number is negative or large; the ends are needed only else.
    if 0 <= np.bitwise_or.reduce(numbers) <= MAX_NUMBER:
        return
    if not first <= numbers.min() <= numbers.max() <= last:
        raise UnsafeParquet(f"its column {name} has {clause}")


def _check_texts(name: str, words: pa.Array) -> None:
    if not pa.types.is_string(words.type):
        words = words.cast(pa.binary()).cast(pa.string())
    _, offsets, content = words.buffers()
    if content is None:
        return
    first, last = np.frombuffer(offsets, np.int32)[[words.offset, words.offset + len(words)]]
    if last - first > MAX_WORD_BYTES:
        require_at_most(
            pc.max(pc.binary_length(words)).as_py() or 0, MAX_WORD_BYTES, f"its column {name} has a word of {{}} bytes"
        )
    if last > first and np.frombuffer(content, np.int8)[first:last].min() < 0:
        try:
            words.validate(full=True)
        except pa.ArrowInvalid as error:
            raise UnsafeParquet(f"its column {name} has text that is not UTF-8") from error
