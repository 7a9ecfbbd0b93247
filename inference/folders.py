"""Folders that appear whole: bundles and cached segments, which other processes may be opening."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def new_folder(place: Path) -> Iterator[Path]:
    """A folder to fill, which then replaces `place` in one step; of writers at once the last wins. Raises OSError."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{place.name}-", dir=place.parent) as name:
        made, old = Path(name) / "new", Path(name) / "old"
        made.mkdir()
        yield made
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
