"""The headers of Parquet pages, read before Arrow decompresses a page.

Arrow allocates what a header states, so the headers, and not the footer, bound the memory of a column. A header is a
struct of Thrift's compact protocol; its fields are those of `PageHeader` in
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift.
"""

from typing import NamedTuple

MAX_HEADER_BYTES = 1 << 16  # with the smallest and the largest word of the page
DICTIONARY_PAGE = 2
_DATA_PAGES = (0, 3)
_MAX_DEPTH = 4
_DESCRIPTIONS = {0: 5, DICTIONARY_PAGE: 7, 3: 8}  # the field that describes a page, by the page's type
_ENCODING = {5: 2, 7: 2, 8: 4}
_DICTIONARY_ENCODINGS = (2, 8)


class Page(NamedTuple):
    """A page: sizes in bytes without the header, before and after compression, the size of the header, and the number
    of values, nulls included. `is_encoded`: the values are places in the column's dictionary."""

    is_dictionary: bool
    size: int
    stored_size: int
    header_size: int
    values: int
    is_encoded: bool


def read_page_header(data: bytes, start: int = 0) -> Page:
    """The page whose header begins at `start`. Raises IndexError if `data` ends before the header, and ValueError for
    bytes that are no header, or no page of values."""
    fields, end = _integers(data, start)
    try:
        kind, size, stored_size = fields[1], fields[2], fields[3]
        description = _DESCRIPTIONS[kind]
        values, encoding = fields[description << 8 | 1], fields[description << 8 | _ENCODING[description]]
    except KeyError as error:
        raise ValueError("a page has a header without its sizes") from error
    if min(size, stored_size, values) < 0:
        raise ValueError("a page has a negative size")
    is_encoded = kind in _DATA_PAGES and encoding in _DICTIONARY_ENCODINGS
    return Page(kind == DICTIONARY_PAGE, size, stored_size, end - start, values, is_encoded)


def _integers(data: bytes, at: int) -> tuple[dict[int, int], int]:
    """The integers of a struct and of the structs in it, and the position after it.

    The key of an integer has the number of its field in the low byte, and those of the enclosing structs above it. One
    loop with few calls: a part has some 70 headers, and reading them must cost little beside the work of Arrow.
    """
    fields: dict[int, int] = {}
    above: list[int] = []
    key = 0  # of the last field; its low byte is the number
    while True:
        kind = data[at]
        at += 1
        if not kind:
            if not above:
                return fields, at
            key = above.pop()
            continue
        if kind < 16:
            raise ValueError("a page has a header with fields out of order")
        key += kind >> 4
        kind &= 15
        if kind < 3:  # a boolean, in the type itself
            continue
        if kind == 12:  # a struct
            if len(above) == _MAX_DEPTH:
                raise ValueError("a page has a header of too many levels")
            above.append(key)
            key <<= 8
            continue
        value = data[at]
        at += 1
        if value > 127:
            value, at = _varint(data, at - 1)
        if kind == 8:  # bytes
            at += value
        elif 4 <= kind <= 6:  # an integer in zigzag
            fields[key] = (value >> 1) ^ -(value & 1)
        else:
            raise ValueError(f"a page has a header with a field of type {kind}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of several bytes, 7 bits in each, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a page has a header with a number of too many digits")
