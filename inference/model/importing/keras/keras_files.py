"""Read Keras models from files without running code from the file.

Keras 3 reads its own files, `tf_keras` those of Keras 1 and 2. The configuration is checked before a layer is made,
because making a layer may import a module, load a file or unpack Python bytecode.
"""

import json
import re
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from hybrid_batch.data.errors import ModelRefused, NotABundle
from hybrid_batch.inference.model.importing.keras.configuration import check_configuration
from hybrid_batch.inference.model.tensorflow_loader import first_line, import_keras, suppress_output

_CONFIG_LIMIT_BYTES = 64 << 20
# Keras does not compress weights, so a file that unpacks to many times its size is not a model.
_MAX_UNPACKED_RATIO = 20
_ANY_JSON = Any


def read_keras(path: Path, *, trust: bool) -> Any:  # noqa: ANN401
    """Read the model in a `.keras`, `.h5` or `.hdf5` file; the content decides the format, not the suffix.

    `trust` accepts layers that are code. Raises ModelRefused, NotABundle, MissingExtra."""
    zipped = zipfile.is_zipfile(path)
    major, config = _read_zip_config(path) if zipped else _read_h5_config(path)
    if not trust:
        check_configuration(path.name, config)
    keras = import_keras(major)
    try:
        # Keras chooses its reader by the suffix. The link makes it read the content that was checked.
        with suppress_output(), tempfile.TemporaryDirectory() as folder:
            link = Path(folder) / ("model.keras" if zipped else "model.h5")
            link.symlink_to(path.resolve())
            return keras.models.load_model(link, compile=False, safe_mode=not trust)
    except Exception as error:  # Keras raises any exception for a damaged file
        if unknown := re.search(r"(?:Unknown layer:|Could not locate \w+) '?([\w>]+)", str(error)):
            raise ModelRefused(
                f"{path.name} uses the layer {unknown[1]!r}, whose code is not in the file; export the model with"
                " model.export('folder') where the code is, and import the folder."
            ) from error
        raise NotABundle(f"Keras {keras.__version__} cannot read {path.name}: {first_line(error)}") from error


def _read_zip_config(path: Path) -> tuple[int, _ANY_JSON]:
    """The major version of Keras, and the model's configuration without the settings of training, which Keras skips."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
            if archive.getinfo("config.json").file_size > _CONFIG_LIMIT_BYTES:
                raise NotABundle(f"{path.name} has a configuration of over 64 MiB; that is not a Keras model.")
            if unpacked > _CONFIG_LIMIT_BYTES + _MAX_UNPACKED_RATIO * path.stat().st_size:
                raise NotABundle(f"{path.name} would unpack to {unpacked >> 20} MiB; that is not a Keras model.")
            config = json.loads(archive.read("config.json"))
            version = json.loads(archive.read("metadata.json")).get("keras_version", "3")
    except (KeyError, ValueError, RecursionError, OSError, RuntimeError, zipfile.BadZipFile) as error:
        raise NotABundle(f"{path.name} is not a complete .keras file: {first_line(error)}") from error
    if isinstance(config, dict):
        config.pop("compile_config", None)
    return _major(str(version)), config


def _read_h5_config(path: Path) -> tuple[int, _ANY_JSON]:
    """The major version of Keras, and the model's configuration."""
    try:
        import h5py
    except ImportError:
        import_keras(2)  # brings h5py, or reports how to install both
        raise
    try:
        with h5py.File(path, "r") as file:
            config, version = file.attrs.get("model_config"), file.attrs.get("keras_version", b"2")
            layers = "layer_names" in file.attrs or "layers" in file or "_layer_checkpoint_dependencies" in file
        description = None if config is None else json.loads(_text(config))
    except (OSError, ValueError, RuntimeError, RecursionError) as error:
        raise NotABundle(f"{path.name} is damaged or not a Keras model: {first_line(error)}") from error
    if description is None:
        content = "holds only weights" if layers else "holds no Keras model"
        raise NotABundle(
            f"{path.name} {content}; save the whole model with model.save(), or for a model of keras.applications"
            f" use app:NAME --weights {path.name}."
        )
    return _major(_text(version)), description


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _major(version: str) -> int:
    digits = version.partition(".")[0]
    return int(digits) if digits.isdigit() else 3
