"""An object in S3 as a file that is read here and there, a window at a time."""

import io
from collections.abc import Callable
from dataclasses import dataclass

from hybrid_batch.data.errors import StorageFailed

TAIL = 1 << 20  # the end of an object comes first: Parquet's footer is there, and most parts are no larger
WINDOW = 8 << 20  # what a request brings beyond what is asked for; columns that stand together come together


@dataclass(frozen=True, slots=True)
class Range:
    """The bytes of an object from `start` on, the size of all of it, and the tag of its content."""

    start: int
    data: bytes
    size: int
    tag: str


class S3File(io.RawIOBase):
    """An object, of which a window is in memory, and besides it what is being read.

    `get(start, end, tag)` gives a Range: the last `-start` bytes for a negative start, of the content with this tag
    if one is given. It raises FileNotFoundError and StorageFailed, so opening raises either, and reading the latter.
    """

    def __init__(self, name: str, get: Callable[[int, int | None, str | None], Range]) -> None:
        self._name, self._get = name, get
        self._window = get(-TAIL, None, None)
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._window.size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def read(self, size: int | None = -1) -> bytes:
        """The next `size` bytes, all there are for a negative one; fewer only at the end of the object."""
        end = self._window.size if size is None or size < 0 else min(self._place + size, self._window.size)
        data = self._held(self._place, end)
        if self._place + len(data) < end:
            start = self._place + len(data)
            self._window = self._fetch(start, max(end, min(start + WINDOW, self._window.size)))
            data += self._held(start, end)
        self._place += len(data)
        return data

    def _held(self, start: int, end: int) -> bytes:
        """What the window has of these bytes, from the first of them on."""
        offset = start - self._window.start
        return self._window.data[offset : max(offset, end - self._window.start)] if offset >= 0 else b""

    def _fetch(self, start: int, end: int) -> Range:
        try:
            return self._get(start, end, self._window.tag)
        except FileNotFoundError as error:
            raise StorageFailed(f"Cannot read {self._name}: it was removed meanwhile.") from error
