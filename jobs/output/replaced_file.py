"""A file that is replaced only when its new content is complete."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from hybrid_batch.data.errors import StorageFailed


@contextmanager
def replaced_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a file to write, and put it in the place of `path` when the block ends without an exception.

    A device or pipe is written directly. Raises StorageFailed when the file cannot be written."""
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    path = path.resolve()  # a link keeps its name
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise StorageFailed(f"Cannot write {path}: {error.strerror or error}; choose another file.") from error
    finally:
        temporary.unlink(missing_ok=True)
