"""From what the user calls a model to its bundle; a model that is no bundle is imported once into the cache."""

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import data
from data.errors import NotABundle
from inference.bundle import Bundle, is_bundle, read_bundle
from inference.cache import cache_folder

BUILT_IN = "digits"
BUILT_IN_PATH = Path(data.__file__).parent / "digits" / "digits.bundle"


def open_model(text: str, say: Callable[[str], None] = lambda _: None) -> Bundle:
    """The bundle of a bundle folder, a model file, `app:NAME`, or `digits`. `say` gets one line when an import
    is needed. Raises NotABundle, ModelRefused, MissingExtra."""
    path = Path(text)
    if text == BUILT_IN and not path.exists():
        return read_bundle(BUILT_IN_PATH)
    if is_bundle(path):
        return read_bundle(path)
    if not text.startswith("app:") and not path.exists():
        raise NotABundle(f"No model at {text}; give a bundle, a model file, a SavedModel folder, app:NAME or digits.")
    return _imported(text, say)


def _imported(text: str, say: Callable[[str], None]) -> Bundle:
    name = Path(text).stem.removeprefix("app:") or "model"
    place = cache_folder("bundles") / _key(text) / f"{name}.bundle"
    if is_bundle(place):
        return read_bundle(place)
    from inference.importer import ImportSettings, import_model

    say(f"Importing {text} into the cache, once …")
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        imported = import_model(text, Path(folder) / place.name, ImportSettings())
        for note in imported.notes:
            say(f"{name}: {note}; `hybrid-batch import` states it for good.")
        if not is_bundle(place):
            shutil.move(imported.bundle.path, place)
    return read_bundle(place)


def _key(text: str) -> str:
    """The content of the model, whatever its path."""
    digest = hashlib.sha256()
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
