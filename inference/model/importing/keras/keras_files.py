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
from hybrid_batch.inference.model.importing.keras.hdf5_files import check_hdf5
from hybrid_batch.inference.model.importing.keras.keras_archives import check_archived_weights, read_archive
from hybrid_batch.inference.model.tensorflow_loader import first_line, import_keras, suppress_output

_ANY_JSON = Any
_WEIGHTS_SUFFIXES = (".h5", ".hdf5", ".keras")
# What h5py and zipfile raise for a damaged file.
_DAMAGE = (OSError, ValueError, RuntimeError, RecursionError, KeyError, TypeError, AttributeError, zipfile.BadZipFile)


def read_keras(path: Path, *, trust: bool) -> Any:  # noqa: ANN401
    """Read the model in a `.keras`, `.h5` or `.hdf5` file; the content decides the format, not the suffix.

    `trust` accepts layers that are code. Raises ModelRefused, NotABundle, MissingExtra."""
    zipped = zipfile.is_zipfile(path)
    config, version = read_archive(path, trust=trust) if zipped else _read_h5_config(path)
    if zipped and isinstance(config, dict):
        config.pop("compile_config", None)  # the settings of training, which Keras skips
    if not trust:
        check_configuration(path.name, config)
    keras = import_keras(_major(version))
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


def check_weights(path: Path) -> None:
    """Check a file of weights alone, which refers to no other file and fits its size. Raises ModelRefused, NotABundle,
    MissingExtra."""
    if not path.name.endswith(_WEIGHTS_SUFFIXES):
        raise NotABundle(f"{path.name} is not a file of weights; give a .weights.h5, .h5, .hdf5 or .keras file.")
    try:
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                check_archived_weights(path, archive)
        else:
            with _h5py().File(path, "r") as file:
                check_hdf5(path.name, file, path.stat().st_size)
    except _DAMAGE as error:
        raise NotABundle(f"{path.name} is damaged or holds no weights of Keras: {first_line(error)}") from error


def _read_h5_config(path: Path) -> tuple[_ANY_JSON, str]:
    """The model's configuration, and the version of Keras that wrote it, after a check of the whole file."""
    try:
        with _h5py().File(path, "r") as file:
            check_hdf5(path.name, file, path.stat().st_size)
            config, version = file.attrs.get("model_config"), file.attrs.get("keras_version", b"2")
            layers = "layer_names" in file.attrs or "layers" in file or "_layer_checkpoint_dependencies" in file
        description = None if config is None else json.loads(_text(config))
    except _DAMAGE as error:
        raise NotABundle(f"{path.name} is damaged or not a Keras model: {first_line(error)}") from error
    if description is None:
        content = "holds only weights" if layers else "holds no Keras model"
        raise NotABundle(
            f"{path.name} {content}; save the whole model with model.save(), or for a model of keras.applications"
            f" use app:NAME --weights {path.name}."
        )
    return description, _text(version)


def _h5py() -> Any:  # noqa: ANN401
    try:
        import h5py
    except ImportError:
        import_keras(2)  # brings h5py, or reports how to install both
        raise
    return h5py


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _major(version: str) -> int:
    digits = version.partition(".")[0]
    return int(digits) if digits.isdigit() else 3
