"""Limits of the Parquet files of a log, which may come from a stranger.

A footer and a page header state what Arrow allocates, and a few bytes can state anything. So a file is checked in three
steps, each before memory is spent: the footer's size, counts and types; the page headers of a row group; and the words
of a batch, before they are numbered.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NoReturn

import numpy as np
import numpy.typing as npt
import pyarrow as pa
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
_SCANNED_BYTES = 1 << 16  # at once: larger arrays come from the system, which takes longer than the scan
_MAX_DICTIONARY = 1 << 20
_MAX_LEAVES = 1 << 23  # values of a nested column in a row group
_SMALL_FILE = 2 << 20  # read at once for its headers
_HEADER_BYTES = 1024  # of a larger file for one header; the whole header if that is too short
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
            require_at_most(int.from_bytes(end[:4], "little"), _MAX_FOOTER_BYTES, "its footer has {} bytes")
    source.seek(0)
    limits = {"thrift_string_size_limit": _MAX_TEXT_BYTES, "thrift_container_size_limit": 10 * _MAX_COLUMNS}
    try:
        file = pq.ParquetFile(source, read_dictionary=encoded, **limits)
    except KeyError:  # it lacks one of the columns
        file = pq.ParquetFile(source, **limits)
    metadata = file.metadata
    if min(metadata.num_rows, metadata.num_columns) < 0:
        raise UnsafeParquet(f"its footer states {metadata.num_rows:,} rows and {metadata.num_columns:,} columns")
    require_at_most(metadata.num_rows, max_rows, "it has {} rows")
    require_at_most(metadata.num_columns, _MAX_COLUMNS, "it has {} columns")
    require_at_most(metadata.num_row_groups, _MAX_GROUPS, "it has {} row groups")
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
    require_at_most(open_bytes, _MAX_OPEN_BYTES, "its pages take {} bytes at once")
    require_at_most(text_bytes, _MAX_TEXTS_BYTES, "the words of a batch can take {} bytes")


def _check_chunk(headers: "_Headers", path: str, chunk: pq.ColumnChunkMetaData, rows: int) -> tuple[int, int]:
    """Check a column of a row group. The bytes of its largest page with its dictionary, and an upper bound of the bytes
    that the words of the dictionary take in one batch."""
    is_nested, values = path.startswith(_NESTED), chunk.num_values
    require_at_most(
        values, min(MAX_TOP * rows, _MAX_LEAVES) if is_nested else rows, f"its column {path} has {{}} values"
    )
    in_one_batch = values if is_nested else min(rows, BATCH_ROWS)
    most_bytes = _MAX_BATCH_BYTES << 2 * is_nested
    words = text_bytes = largest = seen = batch_bytes = 0
    for start, page in _pages(headers, path, chunk):
        size = page.size
        if page.is_dictionary:
            if seen or words:
                raise UnsafeParquet(f"its column {path} has a dictionary after other pages")
            words = longest = size
            if chunk.physical_type == _TEXT:
                if size * in_one_batch > _SMALL_TEXT_BYTES:
                    longest = _longest_word(headers.content(start, page), chunk.compression, page)
                    require_at_most(longest, MAX_WORD_BYTES, f"its column {path} has a word of {{}} bytes")
                text_bytes = longest * in_one_batch
            continue
        if not is_nested and seen % BATCH_ROWS + page.values > BATCH_ROWS:
            batch_bytes = 0
        batch_bytes += size
        if batch_bytes > most_bytes:
            _refuse(batch_bytes, most_bytes, f"its column {path} has {{}} bytes in one batch")
        largest, seen = max(largest, size), seen + page.values
    if is_nested:
        require_at_most(text_bytes, _MAX_NESTED_BYTES, f"the words of its column {path} can take {{}} bytes")
        text_bytes = 0
    return words + largest, text_bytes


def _pages(headers: "_Headers", path: str, chunk: pq.ColumnChunkMetaData) -> Iterator[tuple[int, Page]]:
    """The pages of a column of a row group that Arrow reads, each with the offset of its header."""
    start, dictionary, values = chunk.data_page_offset, chunk.dictionary_page_offset, chunk.num_values
    if dictionary is not None and 0 < dictionary < start:
        start = dictionary
    end, most_pages = start + chunk.total_compressed_size, 16 + values // 8
    if values and not 0 < start <= end <= headers.size:  # a row group without rows has no pages
        raise pa.ArrowInvalid(f"the column {path} is outside the file")
    pages = seen = 0
    while seen < values and start < end:
        page = headers.read(start)
        pages += 1
        if page.size > _MAX_PAGE_BYTES:
            _refuse(page.size, _MAX_PAGE_BYTES, f"its column {path} has a page of {{}} bytes")
        if pages > most_pages:
            _refuse(pages, most_pages, f"its column {path} has {{}} pages")
        if not page.is_dictionary:
            seen += page.values
        elif page.values > _MAX_DICTIONARY:
            _refuse(page.values, _MAX_DICTIONARY, f"its column {path} has a dictionary of {{}} words")
        yield start, page
        start += page.header_size + page.stored_size


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
    starts = range(0, max(1, len(letters)), _SCANNED_BYTES)
    places = np.concatenate([_small_lengths(letters[at : at + _SCANNED_BYTES + 3]) + at for at in starts])
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


def _small_lengths(letters: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Where a number of 4 bytes between 1 and 255 may begin."""
    zero = letters == 0
    return np.flatnonzero(zero[1:-2] & zero[2:-1] & zero[3:] & ~zero[:-3])


def require_at_most(value: int, limit: int, clause: str) -> None:
    """Raise UnsafeParquet, with `clause` and the value in it, for a value above the limit."""
    if value > limit:
        _refuse(value, limit, clause)


def _refuse(value: int, limit: int, clause: str) -> NoReturn:
    raise UnsafeParquet(f"{clause.format(f'{value:,}')}, more than {limit:,}")
