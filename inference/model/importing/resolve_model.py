"""Resolve a model reference to a bundle; a model that is not a bundle is imported once into the user's cache."""

import fcntl
import hashlib
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hybrid_batch import data
from hybrid_batch.data.errors import NotABundle, StorageFailed
from hybrid_batch.inference.model.bundle import FORMAT_VERSION, Bundle, is_bundle, read_bundle
from hybrid_batch.inference.model.cache import cache_folder, notify_unwritable_cache
from hybrid_batch.inference.model.model_names import APP, BUILT_IN

_CACHE_VERSION = 2  # increased for a change of the import that keeps the format of bundles
BUILT_IN_PATH = Path(data.__file__).parent / "digits" / "digits.bundle"


def resolve_model(reference: str, notify: Callable[[str], None] = lambda _: None) -> Bundle:
    """Return the bundle of a bundle folder, a model file, a SavedModel folder, `app:NAME` or `digits`.

    The two names never mean a path: a folder `digits` is `./digits`, with a note.

    `notify` receives one line for each step of an import, and one if the weights are random. Raises NotABundle,
    ModelRefused, StorageFailed, MissingExtra."""
    notify_unwritable_cache(notify)
    bundle = _resolve(reference, notify)
    if note := bundle.random_weights_note:
        notify(f"Note: {note}")
    return bundle


def _resolve(reference: str, notify: Callable[[str], None]) -> Bundle:
    path = Path(reference)
    if reference == BUILT_IN:
        if is_bundle(path) or (path / "saved_model.pb").is_file() or path.is_file():
            notify(f"Note: {BUILT_IN} is the built-in model; ./{BUILT_IN} names the one in the working folder.")
        return read_bundle(BUILT_IN_PATH)
    if reference.startswith(APP):  # also if there is a file or folder of this name: ./app:NAME
        return _read_or_import(reference, notify)
    if is_bundle(path):
        return read_bundle(path)
    if not path.exists():
        raise NotABundle(
            f"No model at {reference}; give a bundle, a model file, a SavedModel folder, app:NAME or digits."
        )
    _check_kind(path)
    return _read_or_import(reference, notify)


def _check_kind(path: Path) -> None:
    """Raise NotABundle for a path whose content has no end, or would be hashed in vain."""
    if path.is_dir() and not (path / "saved_model.pb").is_file():
        raise NotABundle(f"{path} is neither a bundle (no bundle.json) nor a SavedModel (no saved_model.pb).")
    if not path.is_dir() and not path.is_file():
        raise NotABundle(f"{path} is neither a file nor a folder, so it is not a model.")


def _read_or_import(reference: str, notify: Callable[[str], None]) -> Bundle:
    name = Path(reference).resolve().stem.removeprefix(APP)
    path = cache_folder("bundles") / _key(reference) / f"{name}.bundle"
    with _lock(path.parent):
        if path.exists():
            try:
                return read_bundle(path)
            except NotABundle:
                notify(f"The cached import of {reference} is damaged.")
                shutil.rmtree(path, ignore_errors=True)
        from hybrid_batch.inference.model.importing.sandbox.isolated_import import import_isolated

        notify(f"Importing {reference} into the cache, once …")
        imported = import_isolated(reference, path)
        if (protections := imported.protections) and (missing := protections.describe_missing()):
            notify(f"Note: {missing}.")
        for note in imported.notes:
            notify(f"Note: {name}: {note}.")
        if imported.notes:
            notify(f"`hybrid-batch import {shlex.quote(reference)}` with these options makes a bundle for --model.")
        return imported.bundle


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Let one process import a model while others that need the same model wait."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("w")
    except OSError as error:
        raise StorageFailed(
            f"Cannot store imported models in {folder}: {error.strerror or error}; import the model with"
            " `hybrid-batch import`, or set HYBRID_BATCH_CACHE to a writable folder."
        ) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _key(reference: str) -> str:
    """Hash the model's content, not its path, the bundle format and the version of the import."""
    digest = hashlib.sha256(f"{FORMAT_VERSION}.{_CACHE_VERSION}\n".encode())
    if reference.startswith(APP):
        digest.update(f".\n{reference}".encode())
        return digest.hexdigest()[:32]
    path = Path(reference)
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    for file in files:
        digest.update(f"{file.relative_to(path)}\n".encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:32]
