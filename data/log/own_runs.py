"""Notes of the runs that this user started on this machine, with the folder of their images.

A log may come from a stranger and name any folder. A note is in the user's cache, where a log cannot write, so the
folder in a note is one that the user gave to `run`.
"""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

from hybrid_batch.data.errors import StorageFailed, WrongUsage
from hybrid_batch.data.storage.local_storage import LocalStorage
from hybrid_batch.data.storage.private_file import read_user_file

_KIND = "runs"  # of the entries of the cache
_ONLY_USER, _ONLY_USER_FILE = 0o700, 0o600


def note_run(cache: Path, run: str, images: str) -> None:
    """Note the folder, or s3:// prefix, of the images of a run at `run`, a path or URI. Without a cache that can be
    written, nothing is noted."""
    folder = cache / _KIND
    with suppress(OSError, StorageFailed):
        folder.mkdir(_ONLY_USER, parents=True, exist_ok=True)
        name = _name(run)
        LocalStorage(folder, str(folder)).replace(name, json.dumps({"images": images}).encode())
        (folder / name).chmod(_ONLY_USER_FILE)


def noted_images(cache: Path, run: str) -> str | None:
    """The folder of the images of a run of this user; None for other runs, and if others can write the note."""
    try:
        text = read_user_file(cache / _KIND / _name(run), "note of a run")
        images = json.loads(text)["images"] if text is not None else None
    except (OSError, WrongUsage, ValueError, KeyError, TypeError):
        return None
    return images if isinstance(images, str) else None


def _name(run: str) -> str:
    place = run if "://" in run else os.path.realpath(run)
    return f"{hashlib.sha256(os.fsencode(place)).hexdigest()[:32]}.json"
