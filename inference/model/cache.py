"""The user's cache: imported models and compiled segments, each a folder that appears whole, and small files of what
was measured; all safe to delete."""

import contextlib
import os
import shutil
from pathlib import Path

from hybrid_batch.data.errors import StorageFailed
from hybrid_batch.data.storage.local_storage import LocalStorage

SEGMENTS_LIMIT_BYTES = 4 << 30


def cache_folder(kind: str) -> Path:
    """Where things of a kind are kept: `$HYBRID_BATCH_CACHE`, or the platform's cache folder."""
    root = os.environ.get("HYBRID_BATCH_CACHE")
    if root is None:
        import platformdirs

        root = platformdirs.user_cache_dir("hybrid-batch")
    return Path(root) / kind


def keep_file(place: Path, text: str) -> None:
    """Write a file of the cache whole or not at all: others may be reading it. Raises StorageFailed."""
    try:
        LocalStorage(place.parent, str(place.parent)).replace(place.name, text.encode())
    except StorageFailed as error:
        raise StorageFailed(f"{str(error).rstrip('.')}, by HYBRID_BATCH_CACHE.") from error


def prune(folder: Path, limit_bytes: int = SEGMENTS_LIMIT_BYTES) -> None:
    """Delete the folders longest unused until `folder` holds at most `limit_bytes`. Others may be doing the same."""
    found = []
    for place in folder.iterdir():
        with contextlib.suppress(OSError):
            files = [file.stat() for file in place.iterdir()]
            used = max((max(file.st_atime, file.st_mtime) for file in files), default=0)
            found.append((used, sum(file.st_size for file in files), place))
    total = sum(size for _, size, _ in found)
    for _, size, place in sorted(found):
        if total <= limit_bytes:
            return
        shutil.rmtree(place, ignore_errors=True)
        total -= size
