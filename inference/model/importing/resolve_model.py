"""From what the user calls a model to its bundle; a model that is no bundle is imported once into the cache."""

import fcntl
import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import hybrid_batch
from hybrid_batch.data.errors import NotABundle, StorageFailed
from hybrid_batch.inference.model.bundle import FORMAT_VERSION, Bundle, is_bundle, read_bundle
from hybrid_batch.inference.model.cache import cache_folder

BUILT_IN = "digits"
BUILT_IN_PATH = Path(hybrid_batch.__file__).parent / "data" / "digits" / "digits.bundle"


def open_model(text: str, say: Callable[[str], None] = lambda _: None) -> Bundle:
    """The bundle of a bundle folder, a model file, `app:NAME`, or `digits`. `say` gets one line when an import
    is needed. Raises NotABundle, ModelRefused, StorageFailed, MissingExtra."""
    path = Path(text)
    if text == BUILT_IN and not path.exists():
        return read_bundle(BUILT_IN_PATH)
    if is_bundle(path):
        return read_bundle(path)
    if not text.startswith("app:") and not path.exists():
        raise NotABundle(f"No model at {text}; give a bundle, a model file, a SavedModel folder, app:NAME or digits.")
    return _imported(text, say)


def _imported(text: str, say: Callable[[str], None]) -> Bundle:
    name = Path(text).resolve().stem.removeprefix("app:")
    place = cache_folder("bundles") / _key(text) / f"{name}.bundle"
    with _lock(place.parent):
        if place.exists():
            try:
                return read_bundle(place)
            except NotABundle:
                say(f"The imported {text} in the cache is damaged.")
                shutil.rmtree(place, ignore_errors=True)
        from hybrid_batch.inference.model.importing.importer import ImportSettings, import_model

        say(f"Importing {text} into the cache, once …")
        imported = import_model(text, place, ImportSettings())
        for note in imported.notes:
            say(f"{name}: {note}; `hybrid-batch import` states it for good.")
        return imported.bundle


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Of processes that need the same model one imports it and the others wait."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("w")
    except OSError as error:
        raise StorageFailed(
            f"Cannot keep imported models in {folder}: {error.strerror or error}; import the model with"
            " `hybrid-batch import`, or set HYBRID_BATCH_CACHE to a folder that can be written."
        ) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _key(text: str) -> str:
    """The content of the model, whatever its path, and the format it is imported to."""
    digest = hashlib.sha256(f"{FORMAT_VERSION}\n".encode())
    path = Path(text)
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    for file in files:
        digest.update(f"{file.relative_to(path)}\n".encode())
        if file.is_file():
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        else:
            digest.update(text.encode())
    return digest.hexdigest()[:32]
