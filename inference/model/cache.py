"""The user's cache: imported models and compiled segments, one directory each, and JSON files of measurements.

All of it may be deleted at any time."""

import atexit
import contextlib
import functools
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from hybrid_batch.data.errors import StorageFailed
from hybrid_batch.data.storage.local_storage import LocalStorage
from hybrid_batch.data.terminal.escapes import write_line

SEGMENTS_LIMIT_BYTES = 4 << 30


def _print(line: str) -> None:
    write_line(sys.stderr, line)


_notify: Callable[[str], None] = _print


def notify_unwritable_cache(notify: Callable[[str], None]) -> None:
    """Set the function that receives the line about a cache folder that cannot be written; by default it is printed.

    This module is part of the package for Lambda, which has no messages of a command line."""
    global _notify  # noqa: PLW0603 - one process, one cache
    _notify = notify


def cache_folder(kind: str) -> Path:
    """Return the folder for one kind of entry, below `$HYBRID_BATCH_CACHE` or the platform's cache folder.

    If that cannot be written, it is a temporary folder that lasts as long as this process, with a note on stderr."""
    root = os.environ.get("HYBRID_BATCH_CACHE")
    if root is None:
        import platformdirs

        root = platformdirs.user_cache_dir("hybrid-batch")
    return _writable(Path(root)) / kind


@functools.cache
def _writable(root: Path) -> Path:
    """Return `root`, or a temporary folder in its place."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            if (stranger := _stranger(root)) is None:
                return root
            reason = f"{stranger} belongs to another user"
    except OSError as error:
        reason = error.strerror or str(error)
    _notify(
        f"Note: The cache folder {root} cannot be used ({reason}), so nothing is kept for later commands; "
        "HYBRID_BATCH_CACHE can name another."
    )
    temporary = tempfile.mkdtemp(prefix="hybrid-batch-cache-")
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    return Path(temporary)


def _stranger(root: Path) -> Path | None:
    """The cache folder or the first entry in it that another user has made: it may hold models and compiled code."""
    paths = (root, *root.iterdir())
    return next((path for path in paths if path.lstat().st_uid not in (0, os.geteuid())), None)


def write_cache_file(path: Path, text: str) -> None:
    """Write a file of the cache atomically, because other processes may read it. Raises StorageFailed."""
    try:
        LocalStorage(path.parent, str(path.parent)).replace(path.name, text.encode())
    except StorageFailed as error:
        raise StorageFailed(f"{str(error).rstrip('.')}, with HYBRID_BATCH_CACHE.") from error


def prune(folder: Path, limit_bytes: int = SEGMENTS_LIMIT_BYTES) -> None:
    """Delete the least recently used entries until `folder` holds at most `limit_bytes`.

    Other processes may prune the same folder at the same time."""
    entries = []
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            files = [file.stat() for file in path.iterdir()]
            last_used = max((max(file.st_atime, file.st_mtime) for file in files), default=0)
            entries.append((last_used, sum(file.st_size for file in files), path))
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total <= limit_bytes:
            return
        shutil.rmtree(path, ignore_errors=True)
        total -= size
