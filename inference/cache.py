"""The user's cache: imported models and compiled segments, all of it safe to delete."""

import contextlib
import os
from pathlib import Path

SEGMENTS_LIMIT_BYTES = 4 << 30


def cache_folder(kind: str) -> Path:
    """Where things of a kind are kept: `$HYBRID_BATCH_CACHE`, or the platform's cache folder."""
    root = os.environ.get("HYBRID_BATCH_CACHE")
    if root is None:
        import platformdirs

        root = platformdirs.user_cache_dir("hybrid-batch")
    return Path(root) / kind


def prune(folder: Path, limit_bytes: int = SEGMENTS_LIMIT_BYTES) -> None:
    """Delete the files longest unused until the folder holds at most `limit_bytes`."""
    files = []
    for file in folder.iterdir():
        with contextlib.suppress(OSError):  # another process may be pruning too
            found = file.stat()
            files.append((max(found.st_atime, found.st_mtime), found.st_size, file))
    total = sum(size for _, size, _ in files)
    for _, size, file in sorted(files):
        if total <= limit_bytes:
            return
        with contextlib.suppress(OSError):
            file.unlink()
        total -= size
