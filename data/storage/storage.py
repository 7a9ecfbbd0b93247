"""Where images are read from and logs are written to: one interface over a local folder and S3.

Names are relative to the storage and '/'-separated, so the same code runs on both.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote, urlsplit

from hybrid_batch.data.errors import WrongUsage

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Entry:
    """One file: its name below the storage it was listed from, and its size in bytes."""

    name: str
    size: int


class Storage(Protocol):
    """A folder of files, here or in a bucket. Safe to use from many threads at once."""

    @property
    def uri(self) -> str:
        """The place as a user would write it."""

    def read(self, name: str, limit: int | None = None) -> bytes:
        """The whole file. Raises FileNotFoundError when there is none, TooLarge when it has more than `limit`
        bytes (none of them is then read), StorageFailed for every other reason."""

    def file(self, name: str) -> "pa.NativeFile":
        """The file, to be read here and there: from a disk only what is asked for, from S3 that and some of what
        follows, for fewer requests. Raises as `read` does; what is read later can raise StorageFailed."""

    def replace(self, name: str, data: bytes) -> None:
        """Write the file whole, or not at all, whether or not one stood. For what can be made again; the last
        of many simultaneous writers wins. Raises StorageFailed."""

    def write_once(self, name: str, data: bytes) -> bool:
        """Create the file whole, or not at all: True when written now, False when it already stood.

        Of many simultaneous writers at most one gets True. On S3 it can be none: when the answer to a write
        that succeeded is lost, its retry finds the file standing. Raises StorageFailed."""

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """Every file at any depth whose name starts with `prefix`, in any order, as it is found. Nothing when
        the place does not exist. Raises StorageFailed when a part of it cannot be listed."""

    def child(self, name: str) -> "Storage":
        """The storage of the sub-folder `name`, which need not exist yet."""


def open_storage(uri: str) -> Storage:
    """The storage at a folder path, `file://…` or `s3://bucket/prefix`. Nothing is contacted or created yet.

    Raises WrongUsage for any other scheme."""
    if not uri:
        raise WrongUsage("An empty name is no place; give a folder or s3://bucket/prefix.")
    scheme, _, rest = uri.partition("://")
    if scheme == "s3" and rest:
        from hybrid_batch.data.storage.s3_storage import S3Storage

        return S3Storage.open(uri)
    from hybrid_batch.data.storage.local_storage import LocalStorage

    if scheme == "file" and rest:
        parts = urlsplit(uri)
        if parts.netloc not in ("", "localhost"):
            raise WrongUsage(f"{uri!r} names another machine; mount it and give its folder, or use s3://.")
        return LocalStorage(Path(unquote(parts.path)), uri)
    if rest and "/" not in scheme:
        raise WrongUsage(f"Cannot open {uri!r}: give a folder, file:///folder or s3://bucket/prefix.")
    return LocalStorage(Path(uri), uri)


def open_file(uri: str) -> tuple[Storage, str]:
    """The storage that holds one file, and the file's name in it."""
    folder, slash, name = uri.rstrip("/").rpartition("/")
    return open_storage(folder + slash if slash else "."), unquote(name) if folder.startswith("file:") else name
