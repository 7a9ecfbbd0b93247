"""A file that is replaced only when its new content is complete."""

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from hybrid_batch.data.errors import StorageFailed
from hybrid_batch.data.storage.temporary_files import lock, remove_abandoned


@contextmanager
def replaced_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a file to write, and put it in the place of `path` when the block ends without an exception.

    A link keeps its name. A device or pipe is written directly. Raises StorageFailed when the file cannot be written.
    """
    in_place = _is_device(path)
    target = path if in_place else path.resolve()
    written = target if in_place else target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with written.open("wb" if in_place else "xb") as file:
            if not in_place:
                lock(file.fileno())
                names = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{8}}")
                remove_abandoned(target.parent, names, os.fstat(file.fileno()).st_mtime)
            yield file
            file.flush()
            if not in_place:
                os.fsync(file.fileno())
                written.replace(target)
    except OSError as error:
        raise StorageFailed(f"Cannot write {path}: {error.strerror or error}; choose another file.") from error
    finally:
        if not in_place:
            with suppress(OSError):
                written.unlink(missing_ok=True)


def _is_device(path: Path) -> bool:
    # What /dev/stdout leads to may be a regular file, whose name the shell, not this program, has to keep.
    return path.parts[:2] in (("/", "dev"), ("/", "proc")) or (path.exists() and not path.is_file())
