"""Directories that appear complete, for bundles and cached segments that other processes may be opening."""

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hybrid_batch.data.storage.temporary_files import lock, remove_abandoned


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield a new directory to fill, and replace `path` by it in one step when the block ends.

    If the block raises, `path` stays as it was. Of concurrent writers the last wins. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as name:
        new, old = Path(name) / "new", Path(name) / "old"
        with _locked(Path(name), path):
            new.mkdir()
            yield new
            try:
                _replace(path, new, old)
            finally:
                if old.exists() and not path.exists():  # interrupted between the two renames
                    with contextlib.suppress(OSError):
                        old.rename(path)


@contextmanager
def _locked(temporary: Path, path: Path) -> Iterator[None]:
    """Mark the temporary directory as in use, and remove those of killed processes for the same `path`."""
    descriptor = os.open(temporary, os.O_RDONLY | os.O_CLOEXEC)
    try:
        lock(descriptor)
        if path.exists():  # else `old` in one of them may be all that is left of it
            names = re.compile(rf"\.{re.escape(path.name)}-[a-z0-9_]{{8}}")
            remove_abandoned(path.parent, names, os.fstat(descriptor).st_mtime)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, new: Path, old: Path) -> None:
    """Move `path` to `old` and `new` to `path`."""
    while True:
        with contextlib.suppress(FileNotFoundError):
            path.rename(old)
        try:
            new.rename(path)
        except OSError:
            if not path.exists():  # the failure is not a concurrent writer
                raise
            shutil.rmtree(old, ignore_errors=True)
        else:
            return
