"""The user's cache: imported models and compiled segments, each a folder that appears whole; all safe to delete."""

import contextlib
import os
import shutil
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
