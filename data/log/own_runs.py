"""Notes of the runs that this user started on this machine: the folder of their images, and a hash of their settings.

A log may come from a stranger, hold records that no model computed, and name any folder. A note is in the user's cache,
where a log cannot write. It is written before the run's first file. The hash is that of `_run.json`, with the time of
the start, so another run in the place of an own one has none. A copy of an own log in another place counts as foreign,
because the note has the place. Parts that others add to an own run are not noticed.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hybrid_batch.data.errors import StorageFailed, WrongUsage
from hybrid_batch.data.log.runs import RunFolder
from hybrid_batch.data.storage.local_storage import LocalStorage
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.data.storage.private_file import read_user_file

_KIND = "runs"  # of the entries of the cache
_ONLY_USER, _ONLY_USER_FILE = 0o700, 0o600


def note_run(cache: Path, run: str, images: str | None, settings: str | None = None) -> None:
    """Note the folder, or s3:// prefix, of the images of a run at `run`, a path or URI, and the SHA-256 of its settings
    if this user begins it. Without a cache that can be written, nothing is noted."""
    folder = cache / _KIND
    with suppress(OSError, StorageFailed):
        folder.mkdir(_ONLY_USER, parents=True, exist_ok=True)
        name = _name(run)
        LocalStorage(folder, str(folder)).replace(name, json.dumps({"images": images, "settings": settings}).encode())
        (folder / name).chmod(_ONLY_USER_FILE)


def note_own_run(cache: Path, run: RunFolder, images: str, settings: str) -> None:
    """As `note_run`, for a run that is begun with settings of this SHA-256, or continued: whose it is then stays."""
    begun = run.settings_sha256()
    noted = _note(cache, run.uri).get("settings")
    note_run(cache, run.uri, images, settings if begun is None else noted)


def noted_images(cache: Path, run: str) -> str | None:
    """The folder of the images of a run of this user; None for other runs, and if others can write the note."""
    images = _note(cache, run).get("images")
    return images if isinstance(images, str) else None


def is_own(cache: Path, run: RunFolder) -> bool:
    """Whether this user began the run, in this place, on this machine. Raises StorageFailed."""
    noted = _note(cache, run.uri).get("settings")
    return isinstance(noted, str) and noted == run.settings_sha256()


def describe_foreign(cache: Path, runs: Iterable[RunFolder]) -> str | None:
    """A sentence about the runs that are not the user's; None if there are none. Raises StorageFailed."""
    return describe_writers([run.uri for run in runs if not is_own(cache, run)])


def describe_writers(foreign: Sequence[str]) -> str | None:
    """A sentence about foreign runs, by their addresses; None if there are none."""
    if not foreign:
        return None
    if len(foreign) == 1:
        subject, records = f"{foreign[0]} was", "its records are"
    else:
        subject, records = f"{len(foreign):,} runs, such as {foreign[0]}, were", "their records are"
    return f"{subject} not written by this user on this machine; {records} as the writer left them."


def _note(cache: Path, run: str) -> dict[str, Any]:
    try:
        text = read_user_file(cache / _KIND / _name(run), "note of a run")
        note = json.loads(text) if text is not None else {}
    except (OSError, WrongUsage, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def _name(run: str) -> str:
    place = run if run.startswith("s3://") else _real_path(run)
    return f"{hashlib.sha256(os.fsencode(place)).hexdigest()[:32]}.json"


def _real_path(run: str) -> str:
    storage = open_storage(run)
    return os.path.realpath(storage.folder) if isinstance(storage, LocalStorage) else run
