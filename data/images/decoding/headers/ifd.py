"""Directories of tags (IFD) of TIFF 6.0 and BigTIFF, which EXIF and MPF contain too."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from hybrid_batch.data.images.decoding.pixel_budget import UndecodableImage

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
_INTEGERS = {1: "B", 3: "H", 4: "L", 8: "h", 9: "l", 13: "L", 16: "Q"}
_SLACK_BYTES = 1 << 16
_MAX_NUMBERS = 1 << 18  # values of one tag that Pillow makes a tuple


@dataclass(frozen=True, slots=True)
class TagEntry:
    """A tag, its type, the number of its values, the position of the values, and the byte order of `struct`."""

    tag: int
    kind: int
    count: int
    offset: int
    order: str

    @property
    def size(self) -> int:
        return _SIZES.get(self.kind, 0) * self.count

    def values(self, data: bytes, most: int) -> tuple[int, ...]:
        """At most `most` values; none for types that are not integers, and for values outside the data."""
        code, count = _INTEGERS.get(self.kind), min(self.count, most)
        if code is None or self.offset + count * _SIZES[self.kind] > len(data):
            return ()
        return struct.unpack_from(f"{self.order}{count}{code}", data, self.offset)


def first_directory(data: bytes) -> list[TagEntry]:
    """The entries of the first directory, as far as they are complete; none for data of another kind."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 8:
        return []
    big = data[2] == 43 or data[3] == 43
    if big and len(data) < 16:
        return []
    (start,) = struct.unpack_from(f"{order}Q", data, 8) if big else struct.unpack_from(f"{order}L", data, 4)
    return list(_entries(data, start, order, big=big))


def check_tags(data: bytes, entries: list[TagEntry]) -> None:
    """Raises UndecodableImage for tags whose values overlap, so that Pillow's copies need much more memory than the
    file, and for a tag with very many numbers."""
    total = sum(entry.size for entry in entries if entry.offset + entry.size <= len(data))
    if total > len(data) + _SLACK_BYTES:
        raise UndecodableImage(f"the values of the tags take {total:,} bytes, more than the {len(data):,} of the file")
    for entry in entries:
        if _SIZES.get(entry.kind, 1) > 1 and entry.count > _MAX_NUMBERS and entry.offset + entry.size <= len(data):
            raise UndecodableImage(f"the tag {entry.tag} has {entry.count:,} values, more than {_MAX_NUMBERS:,}")


def _entries(data: bytes, start: int, order: str, *, big: bool) -> Iterator[TagEntry]:
    head, step, inline = ("Q", 20, 8) if big else ("H", 12, 4)
    head_size = struct.calcsize(f"={head}")
    if start + head_size > len(data):
        return
    (count,) = struct.unpack_from(f"{order}{head}", data, start)
    position = start + head_size
    for _ in range(min(count, _MAX_NUMBERS)):
        if position + step > len(data):
            return
        tag, kind, number = struct.unpack_from(f"{order}HH{'Q' if big else 'L'}", data, position)
        offset = position + step - inline
        if _SIZES.get(kind, 0) * number > inline:
            (offset,) = struct.unpack_from(f"{order}{'Q' if big else 'L'}", data, offset)
        yield TagEntry(tag, kind, number, offset, order)
        position += step
