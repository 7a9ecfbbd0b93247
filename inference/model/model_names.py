"""Names of models and cuts for the completion of command lines, read without TensorFlow, numpy and checks of hashes."""

import json
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

BUILT_IN = "digits"
APP = "app:"
_FILES = (".keras", ".h5", ".hdf5")
_DESCRIPTION_FILE = "bundle.json"
_LIMIT_BYTES = 64 << 20
_DATA = Path(__file__).parents[2] / "data"
_IMPORTED_CLASS = re.compile(r"\b([A-Z]\w+) as \1\b")


def list_models(prefix: str) -> Iterator[str]:
    """The models whose names start with `prefix`: digits, bundles, model files and folders, keras.applications."""
    if prefix.startswith(APP):
        yield from (f"{APP}{name}" for name in _applications() if f"{APP}{name}".startswith(prefix))
        return
    yield from (name for name in (BUILT_IN, APP) if name.startswith(prefix))
    folder, _, start = prefix.rpartition("/")
    for path in sorted(Path(folder or ("/" if prefix.startswith("/") else ".")).glob("*")):
        if not path.name.isprintable():  # a shell would print its escape sequences
            continue
        if path.name.startswith(start) and not (path.name.startswith(".") and not start):
            name = f"{folder}/{path.name}" if "/" in prefix else path.name
            if path.suffix.lower() in _FILES or _is_bundle(path):
                yield name
            elif path.is_dir():
                yield f"{name}/"


def list_cuts(model: str) -> Iterator[tuple[str, str]]:
    """Id and name of each cut of a bundle, from the input to the output; none for other models."""
    folder = Path(model)
    if model == BUILT_IN:
        folder = _DATA / BUILT_IN / f"{BUILT_IN}.bundle"
    try:
        with (folder / _DESCRIPTION_FILE).open("rb") as file:
            stored: dict[str, Any] = json.loads(file.read(_LIMIT_BYTES))
        yield from [(str(cut["id"]), str(cut["name"])) for cut in stored["cuts"]]
    except (OSError, ValueError, KeyError, TypeError):
        return


def _is_bundle(path: Path) -> bool:
    return (path / _DESCRIPTION_FILE).is_file()


def _applications() -> list[str]:
    """The names of keras.applications, from the text of the module: importing it takes seconds."""
    spec = find_spec("keras")
    if spec is None or spec.origin is None:
        return []
    module = Path(spec.origin).parent / "applications" / "__init__.py"
    return sorted(_IMPORTED_CLASS.findall(module.read_text(encoding="utf-8"))) if module.is_file() else []
