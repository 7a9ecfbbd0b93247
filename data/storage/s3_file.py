"""An S3 object as a random-access file with a read-ahead window."""

import io
from collections.abc import Callable
from dataclasses import dataclass

from hybrid_batch.data.errors import StorageFailed

FOOTER_BYTES = 1 << 20  # fetched on opening: it holds the Parquet footer, and most parts are no larger
WINDOW = 8 << 20  # fetched by one request, so that adjacent columns need one


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes of an object from offset `start` on, the size of the whole object in bytes, and its ETag."""

    start: int
    data: bytes
    size: int
    tag: str


class S3File(io.RawIOBase):
    """A read-only file that keeps one window of the object in memory.

    `get(start, end, tag)` returns a ByteRange; a negative start means the last `-start` bytes. With a tag, the object
    must still have this ETag. `get` raises FileNotFoundError and StorageFailed: opening raises both, reading the
    latter.
    """

    def __init__(self, name: str, get: Callable[[int, int | None, str | None], ByteRange]) -> None:
        self._name, self._get = name, get
        self._window = get(-FOOTER_BYTES, None, None)
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
        """Return the next `size` bytes, or all the rest if `size` is negative; fewer only at the end of the object."""
        end = self._window.size if size is None or size < 0 else min(self._place + size, self._window.size)
        data = self._held(self._place, end)
        if self._place + len(data) < end:
            start = self._place + len(data)
            self._window = self._fetch(start, max(end, min(start + WINDOW, self._window.size)))
            data += self._held(start, end)
        self._place += len(data)
        return data

    def _held(self, start: int, end: int) -> bytes:
        """Return the bytes of the window from `start` up to `end`, empty if `start` is outside the window."""
        offset = start - self._window.start
        return self._window.data[offset : max(offset, end - self._window.start)] if offset >= 0 else b""

    def _fetch(self, start: int, end: int) -> ByteRange:
        try:
            return self._get(start, end, self._window.tag)
        except FileNotFoundError as error:
            raise StorageFailed(f"Cannot read {self._name}: it was deleted during the read.") from error
