"""Names of models and cuts for the completion of command lines, read without TensorFlow, numpy and checks of hashes."""

import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

BUILT_IN = "digits"
APP = "app:"
_FILES = (".keras", ".h5", ".hdf5")
_DESCRIPTION_FILE = "bundle.json"
_LIMIT_BYTES = 8 << 20  # of a description; those of the applications of Keras have less than 1 MiB
_MAX_ENTRIES = 10_000  # of a folder
_DATA = Path(__file__).parents[2] / "data"
# A shell inserts what it completes as it is: other characters would be code, or lines of the completion's protocol.
_PLAIN_NAME = re.compile(r"[\w./][\w./:@%+=,-]*", re.ASCII)
_CUT_ID = re.compile(r"[cf]\d{3,9}", re.ASCII)
_IMPORTED_CLASS = re.compile(r"\b([A-Z]\w+) as \1\b")


def list_models(prefix: str) -> Iterator[str]:
    """The models whose names start with `prefix`: digits, bundles, model files and folders, keras.applications.

    Names with characters that a shell interprets are left out."""
    if prefix.startswith(APP):
        yield from (f"{APP}{name}" for name in _applications() if f"{APP}{name}".startswith(prefix))
        return
    yield from (name for name in (BUILT_IN, APP) if name.startswith(prefix))
    folder, _, start = prefix.rpartition("/")
    for path in _entries(Path(folder or ("/" if prefix.startswith("/") else ".")), start):
        name = f"{folder}/{path.name}" if "/" in prefix else path.name
        if not is_plain(name):
            continue
        if path.suffix.lower() in _FILES or _is_bundle(path):
            yield name
        elif path.is_dir():
            yield f"{name}/"


def list_cuts(model: str) -> Iterator[tuple[str, str]]:
    """Id and name of each cut of a bundle, from the input to the output; none for other models.

    Ids that are not `c` or `f` and digits are left out, and names that are not printable are empty."""
    folder = Path(model)
    if model == BUILT_IN:
        folder = _DATA / BUILT_IN / f"{BUILT_IN}.bundle"
    try:
        stored: dict[str, Any] = json.loads(_read_regular(folder / _DESCRIPTION_FILE))
        cuts = [(str(cut["id"]), str(cut["name"])) for cut in stored["cuts"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return
    yield from ((cut, name if name.isprintable() else "") for cut, name in cuts if _CUT_ID.fullmatch(cut))


def is_plain(name: str) -> bool:
    """Whether a shell takes a name as one word, without interpreting it."""
    return _PLAIN_NAME.fullmatch(name) is not None


def _entries(folder: Path, start: str) -> list[Path]:
    """The entries of a folder whose names start with `start`, sorted; hidden ones only if it has a point. Of a huge
    folder some are left out; none if the folder cannot be read."""
    names: list[str] = []
    with suppress(OSError), os.scandir(folder) as entries:
        names += (entry.name for entry in islice(entries, _MAX_ENTRIES) if entry.name.startswith(start))
    return [folder / name for name in sorted(names) if start or not name.startswith(".")]


def _read_regular(path: Path) -> bytes:
    """The content of a regular file; empty for a pipe, a device and a file that is too large. Raises OSError."""
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        found = os.fstat(file.fileno())
        return file.read() if stat.S_ISREG(found.st_mode) and found.st_size <= _LIMIT_BYTES else b""


def _is_bundle(path: Path) -> bool:
    return (path / _DESCRIPTION_FILE).is_file()


def _applications() -> list[str]:
    """The names of keras.applications, from the text of the module: importing it takes seconds."""
    spec = find_spec("keras")
    if spec is None or spec.origin is None:
        return []
    module = Path(spec.origin).parent / "applications" / "__init__.py"
    return sorted(_IMPORTED_CLASS.findall(module.read_text(encoding="utf-8"))) if module.is_file() else []
