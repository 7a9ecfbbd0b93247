"""Folders that appear whole: bundles and cached segments, which other processes may be opening."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def new_folder(place: Path) -> Iterator[Path]:
    """A folder to fill, which then replaces `place` in one step; of writers at once the last wins. What stood
    there stays if it is not. Raises OSError."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{place.name}-", dir=place.parent) as name:
        made, old = Path(name) / "new", Path(name) / "old"
        made.mkdir()
        yield made
        try:
            _put(made, place, old)
        finally:
            if old.exists() and not place.exists():  # interrupted in between
                with contextlib.suppress(OSError):
                    old.rename(place)


def _put(made: Path, place: Path, old: Path) -> None:
    while True:
        with contextlib.suppress(FileNotFoundError):
            place.rename(old)
        try:
            made.rename(place)
        except OSError:
            if not place.exists():  # not somebody quicker
                raise
            shutil.rmtree(old, ignore_errors=True)
        else:
            return
