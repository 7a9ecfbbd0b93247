"""The storage of images and logs: one interface to local folders and S3.

File names are relative to the storage and '/'-separated on both.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Entry:
    """A listed file: its name relative to the storage, and its size in bytes."""

    name: str
    size: int


@dataclass(slots=True)
class Unlisted:
    """What a listing leaves out: the number of pipes, sockets and devices, and the folders that cannot be read, each
    with the reason in one sentence."""

    special_files: int = 0
    folders: dict[str, str] = field(default_factory=dict)


class Storage(Protocol):
    """A local folder or an S3 prefix. Methods are thread-safe."""

    @property
    def uri(self) -> str:
        """The folder path or s3:// URL."""

    def read(self, name: str, limit: int | None = None) -> bytes:
        """Return the whole file. Raises FileNotFoundError, TooLarge before reading a file of more than `limit`
        bytes, and StorageFailed."""

    def open_input_file(self, name: str) -> "pa.NativeFile":
        """Open the file for random access. S3 reads ahead, to save requests. Raises as `read` does; later reads raise
        StorageFailed."""

    def replace(self, name: str, data: bytes) -> None:
        """Write the file atomically, replacing an existing one. The last of concurrent writers wins. Raises
        StorageFailed."""

    def write_once(self, name: str, data: bytes) -> bool:
        """Create the file atomically; return True if it was written now, False if it existed.

        At most one of concurrent writers gets True. On S3 it can be none: if the response to a successful write is
        lost, the retry finds the file. Raises StorageFailed."""

    def remove(self, *names: str) -> None:
        """Delete files; missing ones are ignored. Raises StorageFailed."""

    def list_files(self, prefix: str = "", unlisted: Unlisted | None = None) -> Iterator[Entry]:
        """Yield every file at any depth whose name starts with `prefix`, in any order; nothing if the storage does
        not exist. Raises StorageFailed if a part cannot be listed; with `unlisted`, folders below the storage's own
        are noted there instead."""

    def child(self, name: str) -> "Storage":
        """Return the storage of the subfolder `name`, which need not exist."""
