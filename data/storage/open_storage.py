"""Storages by their folder path or URL."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.data.storage.local_storage import LocalStorage
from hybrid_batch.data.storage.storage import Storage


def open_storage(uri: str) -> Storage:
    """Return the storage of a folder path, `file://…` or `s3://bucket/prefix`, without contacting or creating it.

    Raises WrongUsage for any other scheme."""
    if not uri:
        raise WrongUsage("The folder name is empty; give a folder or s3://bucket/prefix.")
    scheme, _, rest = uri.partition("://")
    if scheme == "s3" and rest:
        from hybrid_batch.data.storage.s3_storage import S3Storage

        return S3Storage.open(uri)
    if scheme == "file" and rest:
        parts = urlsplit(uri)
        if parts.netloc not in ("", "localhost"):
            raise WrongUsage(f"{uri!r} is on another machine; mount it and give its folder, or use s3://.")
        return LocalStorage(Path(unquote(parts.path)), uri)
    if rest and "/" not in scheme:
        raise WrongUsage(f"Cannot open {uri!r}: give a folder, file:///folder or s3://bucket/prefix.")
    return LocalStorage(Path(uri), uri)


def open_file(uri: str) -> tuple[Storage, str]:
    """Return the storage that contains one file, and the file's name in it."""
    folder, slash, name = uri.rstrip("/").rpartition("/")
    return open_storage(folder + slash if slash else "."), unquote(name) if folder.startswith("file:") else name
