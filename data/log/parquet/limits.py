"""Limits of the Parquet files of a log, which may come from a stranger.

A footer and a page header state what Arrow allocates, and a few bytes can state anything. So a file is checked in three
steps, each before memory is spent: the footer's size, counts and types; the page headers of a row group; and the words
of a batch, before they are numbered.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hybrid_batch.data.log.parquet.page_headers import MAX_HEADER_BYTES, Page, read_page_header

MAX_ROWS = 1 << 24  # of a part; counted in some 3 s
MAX_WORD_BYTES = 4096  # of a label, a prediction, the name of an image, an error
MAX_NUMBER = 1 << 53  # bytes, or microseconds: 285 years
MAX_TOP = 100  # labels in a record's top 5
BATCH_ROWS = 49_152  # read at once; fewer take more time, more take more memory: see docs/decisions.md
_MAX_FOOTER_BYTES = 4 << 20
_MAX_TEXT_BYTES = 1 << 20  # of one string in the footer, such as Arrow's schema
_MAX_COLUMNS = 1000
_MAX_GROUPS = 2000
_MAX_LEVELS = 16
_MAX_PAGE_BYTES = 64 << 20
_MAX_OPEN_BYTES = 256 << 20  # of the pages and dictionaries that are in memory together
_MAX_BATCH_BYTES = 128 << 20  # of one column in one batch
_MAX_TEXTS_BYTES = 512 << 20  # of the words of all columns in one batch
_MAX_NESTED_BYTES = 1 << 30  # of the words of a nested column in a row group, as they would take without a dictionary
_SMALL_TEXT_BYTES = 16 << 20  # below it, words are not measured
_MAX_DICTIONARY = 1 << 20
_MAX_LEAVES = 1 << 23  # values of a nested column in a row group
_SMALL_FILE = 2 << 20  # read at once for its headers
_HEADER_BYTES = 1024  # of a larger file for one header; the whole header if that is too short
_LAST_US = 253_402_300_799_999_999  # the end of the year 9999
_MARK = b"PAR1"
_SIGNATURE = 8  # the length of the footer and the mark
_NESTED = "top5."
_TYPES = frozenset(("BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE", "BYTE_ARRAY"))
_TEXT = "BYTE_ARRAY"


class UnsafeParquet(ValueError):
    """The file exceeds a limit. The message is a clause with the limit and the value found."""


def open_parquet(source: pa.NativeFile, encoded: Sequence[str] = (), max_rows: int = MAX_ROWS) -> pq.ParquetFile:
    """Open a file whose footer is within the limits. The columns `encoded` are read as dictionaries if it has them all.

    Raises UnsafeParquet, ArrowException and OSError."""
    size = source.size()
    if size > _SIGNATURE:
        source.seek(size - _SIGNATURE)
        end = source.read(_SIGNATURE)
        if end.endswith(_MARK):
            _limit(int.from_bytes(end[:4], "little"), _MAX_FOOTER_BYTES, "its footer has {} bytes")
    source.seek(0)
    limits = {"thrift_string_size_limit": _MAX_TEXT_BYTES, "thrift_container_size_limit": 10 * _MAX_COLUMNS}
    try:
        file = pq.ParquetFile(source, read_dictionary=encoded, **limits)
    except KeyError:  # it lacks one of the columns
        file = pq.ParquetFile(source, **limits)
    metadata = file.metadata
    if min(metadata.num_rows, metadata.num_columns) < 0:
        raise UnsafeParquet(f"its footer states {metadata.num_rows:,} rows and {metadata.num_columns:,} columns")
    _limit(metadata.num_rows, max_rows, "it has {} rows")
    _limit(metadata.num_columns, _MAX_COLUMNS, "it has {} columns")
    _limit(metadata.num_row_groups, _MAX_GROUPS, "it has {} row groups")
    return file


def leaf_columns(metadata: pq.FileMetaData, names: Collection[str]) -> dict[str, int]:
    """The path and the number of each leaf column in `names`, the names of columns. Raises UnsafeParquet for a name
    that occurs twice, and for types that the columns of a record cannot have."""
    schema = metadata.schema
    found: dict[str, int] = {}
    for number in range(len(schema)):
        column = schema.column(number)
        path = column.path
        name = path.partition(".")[0] if path.startswith(_NESTED) else path
        if name not in names:
            continue
        if path in found:
            raise UnsafeParquet(f"it has two columns {path}")
        levels = column.max_repetition_level
        if column.physical_type not in _TYPES or levels > (name != path) or column.max_definition_level > _MAX_LEVELS:
            raise UnsafeParquet(f"its column {path} has the type {column.physical_type} in {levels} lists")
        found[path] = number
    return found


def check_row_group(source: pa.NativeFile, metadata: pq.FileMetaData, number: int, columns: Mapping[str, int]) -> None:
    """Check the page headers of the `columns` (number by path) of a row group. Raises UnsafeParquet,
    ArrowInvalid and OSError."""
    group = metadata.row_group(number)
    rows = group.num_rows
    if not 0 <= rows <= metadata.num_rows:
        raise UnsafeParquet(f"row group {number} states {rows:,} rows, and the file {metadata.num_rows:,}")
    headers, open_bytes, text_bytes = _Headers(source), 0, 0
    for path, place in columns.items():
        pages = _check_chunk(headers, path, group.column(place), rows)
        open_bytes += pages[0]
        text_bytes += pages[1]
    _limit(open_bytes, _MAX_OPEN_BYTES, "its pages take {} bytes at once")
    _limit(text_bytes, _MAX_TEXTS_BYTES, "the words of a batch can take {} bytes")


def check_values(batch: pa.RecordBatch) -> None:
    """Check a decoded batch: the encoding and the lengths of words, places in dictionaries, which Arrow does not check,
    lengths of lists, numbers and times. Raises UnsafeParquet."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_dictionary(column.type):
            words, places = column.dictionary, column.indices.drop_null().to_numpy(zero_copy_only=False)
            if len(places) and not 0 <= places.min() <= places.max() < len(words):
                raise UnsafeParquet(f"its column {name} has a place outside its dictionary of {len(words):,} words")
        else:
            words = column
        if _is_text(words.type) and len(words):
            _check_texts(name, words)
        elif pa.types.is_int64(words.type) or pa.types.is_timestamp(words.type):
            _check_numbers(name, words)
        elif pa.types.is_list(words.type) and pa.types.is_struct(words.type.value_type):
            _check_lists(name, words)


def _check_lists(name: str, lists: pa.Array) -> None:
    longest = pc.max(pc.list_value_length(lists)).as_py() or 0
    _limit(longest, MAX_TOP, f"its column {name} has a list of {{}} values")
    for place, field in enumerate(lists.type.value_type):
        if not pa.types.is_floating(field.type):
            check_values(pa.record_batch([lists.flatten().field(place)], [f"{name}.{field.name}"]))


def _check_numbers(name: str, column: pa.Array) -> None:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64())
        first, last, clause = 0, _LAST_US, "a time outside the years 1970 to 9999"
    else:
        first, last, clause = -MAX_NUMBER, MAX_NUMBER, f"a number beyond {MAX_NUMBER:,}"
    numbers = (column.drop_null() if column.null_count else column).to_numpy()
    if len(numbers) and not first <= numbers.min() <= numbers.max() <= last:
        raise UnsafeParquet(f"its column {name} has {clause}")


def _check_texts(name: str, words: pa.Array) -> None:
    if not pa.types.is_string(words.type):
        words = words.cast(pa.binary()).cast(pa.string())
    _, offsets, content = words.buffers()
    if content is None:
        return
    first, last = np.frombuffer(offsets, np.int32)[[words.offset, words.offset + len(words)]]
    if last - first > MAX_WORD_BYTES:
        _limit(
            pc.max(pc.binary_length(words)).as_py() or 0, MAX_WORD_BYTES, f"its column {name} has a word of {{}} bytes"
        )
    if last > first and np.frombuffer(content, np.int8)[first:last].min() < 0:
        try:
            words.validate(full=True)
        except pa.ArrowInvalid as error:
            raise UnsafeParquet(f"its column {name} has text that is not UTF-8") from error


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _check_chunk(headers: "_Headers", path: str, chunk: pq.ColumnChunkMetaData, rows: int) -> tuple[int, int]:
    """Check a column of a row group. The bytes of its largest page with its dictionary, and an upper bound of the bytes
    that the words of the dictionary take in one batch."""
    start, dictionary, values = chunk.data_page_offset, chunk.dictionary_page_offset, chunk.num_values
    if dictionary is not None and 0 < dictionary < start:
        start = dictionary
    end = start + chunk.total_compressed_size
    if not 0 < start <= end <= headers.size:
        raise pa.ArrowInvalid(f"the column {path} is outside the file")
    is_nested, is_text = path.startswith(_NESTED), chunk.physical_type == _TEXT
    _limit(values, min(MAX_TOP * rows, _MAX_LEAVES) if is_nested else rows, f"its column {path} has {{}} values")
    in_one_batch = values if is_nested else min(rows, BATCH_ROWS)
    words = text_bytes = largest = pages = seen = batch_bytes = 0
    while seen < values and start < end:
        page = headers.read(start)
        _limit(page.size, _MAX_PAGE_BYTES, f"its column {path} has a page of {{}} bytes")
        if page.is_dictionary:
            if seen or words:
                raise UnsafeParquet(f"its column {path} has a dictionary after other pages")
            _limit(page.values, _MAX_DICTIONARY, f"its column {path} has a dictionary of {{}} words")
            words = page.size
            if is_text:
                text_bytes = words * in_one_batch
                if text_bytes > _SMALL_TEXT_BYTES:
                    longest = _longest_word(headers.content(start, page), chunk.compression, page)
                    _limit(longest, MAX_WORD_BYTES, f"its column {path} has a word of {{}} bytes")
                    text_bytes = longest * in_one_batch
        else:
            if not is_nested and seen % BATCH_ROWS + page.values > BATCH_ROWS:
                batch_bytes = 0
            batch_bytes += page.size
            _limit(batch_bytes, _MAX_BATCH_BYTES << 2 * is_nested, f"its column {path} has {{}} bytes in one batch")
            largest, seen = max(largest, page.size), seen + page.values
        start += page.header_size + page.stored_size
        pages += 1
        _limit(pages, 16 + values // 8, f"its column {path} has {{}} pages")
    if is_nested:
        _limit(text_bytes, _MAX_NESTED_BYTES, f"the words of its column {path} can take {{}} bytes")
        text_bytes = 0
    return words + largest, text_bytes


class _Headers:
    """The page headers of a file: a small file is read once, of a larger one only the headers."""

    def __init__(self, source: pa.NativeFile) -> None:
        self._source = source
        self.size = source.size()
        source.seek(0)
        self._whole: bytes | None = source.read() if self.size <= _SMALL_FILE else None

    def read(self, start: int) -> Page:
        """The header at an offset. Raises ArrowInvalid."""
        try:
            if self._whole is not None:
                return read_page_header(self._whole, start)
            try:
                return read_page_header(self._bytes(start, _HEADER_BYTES))
            except IndexError:
                return read_page_header(self._bytes(start, MAX_HEADER_BYTES))
        except IndexError as error:
            raise pa.ArrowInvalid("a page has an incomplete header") from error
        except ValueError as error:
            raise pa.ArrowInvalid(str(error)) from error

    def content(self, start: int, page: Page) -> bytes:
        """What a page stores."""
        return self._bytes(start + page.header_size, page.stored_size)

    def _bytes(self, start: int, size: int) -> bytes:
        if self._whole is not None:
            return self._whole[start : start + size]
        self._source.seek(start)
        data: bytes = self._source.read(size)
        return data


def _longest_word(stored: bytes, compression: str, page: Page) -> int:
    """The length in bytes of the longest word of a dictionary page, whose words follow a length of 4 bytes each."""
    content = stored
    if compression != "UNCOMPRESSED":
        try:
            content = pa.Codec(compression.lower()).decompress(stored, page.size, asbytes=True)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise pa.ArrowInvalid(f"a dictionary in {compression} cannot be decompressed") from error
    # Words below 256 bytes: a byte and three zeros, and where it ends the next. 1 MiB takes 1 ms, and a loop 3 ms.
    letters = np.frombuffer(content, np.uint8)
    zero = letters == 0
    places = np.flatnonzero(zero[1:-2] & zero[2:-1] & zero[3:] & ~zero[:-3])
    ends = places + 4 + letters[places]
    is_chain = len(places) == page.values > 0 and places[0] == 0 and ends[-1] == len(letters)
    if is_chain and (ends[:-1] == places[1:]).all():
        return int(letters[places].max())
    at = longest = 0
    for _ in range(page.values):
        length = int.from_bytes(content[at : at + 4], "little")
        longest = max(longest, length)
        at += 4 + length
        if at >= len(content):
            break
    return longest


def _limit(value: int, limit: int, clause: str) -> None:
    if value > limit:
        raise UnsafeParquet(f"{clause.format(f'{value:,}')}, more than {limit:,}")
