"""Directories that appear complete, for bundles and cached segments that other processes may be opening."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield a new directory to fill, and replace `path` by it in one step when the block ends.

    If the block raises, `path` stays as it was. Of concurrent writers the last wins. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as name:
        new, old = Path(name) / "new", Path(name) / "old"
        new.mkdir()
        yield new
        try:
            _replace(path, new, old)
        finally:
            if old.exists() and not path.exists():  # interrupted between the two renames
                with contextlib.suppress(OSError):
                    old.rename(path)


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
