"""Read Keras models from files without running anything they carry.

Keras 3 `.keras` and `.h5` are read by Keras 3, files saved by Keras 1 and 2 by `tf_keras`. The configuration
is looked at before any layer is made: a `Lambda` layer holds Python code, so it needs the user's word.
"""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.errors import ModelRefused, NotABundle
from inference.frameworks import import_keras, quiet

_CONFIG_LIMIT_BYTES = 64 << 20
_ANY_JSON = Any


def read_keras(path: Path, *, trust: bool) -> Any:  # noqa: ANN401
    """The model in a `.keras`, `.h5` or `.hdf5` file. Raises ModelRefused and NotABundle."""
    major, config = _config_of_zip(path) if zipfile.is_zipfile(path) else _config_of_h5(path)
    if not trust and "Lambda" in class_names(config):
        raise ModelRefused(
            f"{path.name} has a Lambda layer, which is Python code that would run on this machine;"
            " if you trust where it comes from, add --trust-model."
        )
    keras = import_keras(major)
    try:
        with quiet():
            return keras.models.load_model(path, compile=False, safe_mode=not trust)
    except Exception as error:  # a reader of foreign files raises anything
        raise NotABundle(f"Keras {keras.__version__} cannot read {path.name}: {_first_line(error)}") from error


def _config_of_zip(path: Path) -> tuple[int, _ANY_JSON]:
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo("config.json").file_size > _CONFIG_LIMIT_BYTES:
                raise NotABundle(f"{path.name} describes itself in over 64 MiB; that is no Keras model.")
            config = json.loads(archive.read("config.json"))
            version = json.loads(archive.read("metadata.json")).get("keras_version", "3")
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise NotABundle(f"{path.name} is not a whole .keras file: {_first_line(error)}") from error
    return _major(version), config


def _config_of_h5(path: Path) -> tuple[int, _ANY_JSON]:
    try:
        import h5py
    except ImportError:
        import_keras(2)  # brings h5py, or says how to install both
        raise
    try:
        with h5py.File(path, "r") as file:
            config, version = file.attrs.get("model_config"), file.attrs.get("keras_version", b"2")
            layers = "layer_names" in file.attrs or "layers" in file or "_layer_checkpoint_dependencies" in file
    except OSError as error:
        raise NotABundle(f"{path.name} is damaged or no Keras model: {_first_line(error)}") from error
    if config is None:
        what = "holds weights only, no model" if layers else "holds no Keras model"
        raise NotABundle(
            f"{path.name} {what}; save the whole model with model.save(), or for a model of keras.applications"
            f" use app:NAME --weights {path.name}."
        )
    return _major(_text(version)), json.loads(_text(config))


def class_names(config: _ANY_JSON) -> set[str]:
    """Every layer class named anywhere in a configuration."""
    return set(_class_names(config))


def _class_names(config: _ANY_JSON) -> Iterator[str]:
    stack = [config]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            if isinstance(item.get("class_name"), str):
                yield item["class_name"].rpartition(">")[2]
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _major(version: str) -> int:
    digits = version.partition(".")[0]
    return int(digits) if digits.isdigit() else 3


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".") + "."
