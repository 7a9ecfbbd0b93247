"""Read Keras models from files without running anything they carry.

Files saved by Keras 3 are read by Keras 3, those of Keras 1 and 2 by `tf_keras`. The configuration is looked at
before any layer is made, because making a layer may import a module, load a file or unpack Python code.
"""

import json
import re
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hybrid_batch.data.errors import ModelRefused, NotABundle
from hybrid_batch.inference.model.tensorflow_loader import first_line, import_keras, quiet

_CONFIG_LIMIT_BYTES = 64 << 20
# Keras stores weights as they are; a file that unpacks to many times its size is no model.
_UNPACKED_LIMIT = 20
# Layers made of somebody's code or files: Python bytecode, pickled torch modules, other SavedModels.
_CODE = {"Lambda", "__lambda__", "TorchModuleWrapper", "TFSMLayer"}
_KERAS_MODULES = {"builtins", "keras", "tf_keras"}
# TensorFlow functions that Keras 2 records as layers (`TFOpLambda`) may come from these modules only.
_ARITHMETIC = {"__operators__", "bitwise", "image", "linalg", "math", "nn", "signal"}
_NOT_ARITHMETIC = re.compile(r"load_|py_func|numpy_func|print|function$|.*file")
_ANY_JSON = Any


def read_keras(path: Path, *, trust: bool) -> Any:  # noqa: ANN401
    """The model in a `.keras`, `.h5` or `.hdf5` file, whichever of them it really is. Raises ModelRefused and
    NotABundle, and MissingExtra."""
    zipped = zipfile.is_zipfile(path)
    major, config = _config_of_zip(path) if zipped else _config_of_h5(path)
    if not trust:
        _refuse_code(path, config)
    keras = import_keras(major)
    try:
        # Keras chooses its reader by the suffix; through this link it reads the contents that were looked at.
        with quiet(), tempfile.TemporaryDirectory() as folder:
            link = Path(folder) / ("model.keras" if zipped else "model.h5")
            link.symlink_to(path.resolve())
            return keras.models.load_model(link, compile=False, safe_mode=not trust)
    except Exception as error:  # a reader of foreign files raises anything
        if unknown := re.search(r"(?:Unknown layer:|Could not locate \w+) '?([\w>]+)", str(error)):
            raise ModelRefused(
                f"{path.name} uses {unknown[1]!r}, a layer whose code is not in the file; where that code is,"
                " export the model with model.export('folder') and import the folder."
            ) from error
        raise NotABundle(f"Keras {keras.__version__} cannot read {path.name}: {first_line(error)}") from error


def _config_of_zip(path: Path) -> tuple[int, _ANY_JSON]:
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
            if archive.getinfo("config.json").file_size > _CONFIG_LIMIT_BYTES:
                raise NotABundle(f"{path.name} describes itself in over 64 MiB; that is no Keras model.")
            if unpacked > _CONFIG_LIMIT_BYTES + _UNPACKED_LIMIT * path.stat().st_size:
                raise NotABundle(f"{path.name} would unpack to {unpacked >> 20} MiB; that is no Keras model.")
            config = json.loads(archive.read("config.json"))
            version = json.loads(archive.read("metadata.json")).get("keras_version", "3")
    except (KeyError, ValueError, RecursionError, OSError, RuntimeError, zipfile.BadZipFile) as error:
        raise NotABundle(f"{path.name} is not a whole .keras file: {first_line(error)}") from error
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
        description = None if config is None else json.loads(_text(config))
    except (OSError, ValueError, RuntimeError, RecursionError) as error:
        raise NotABundle(f"{path.name} is damaged or no Keras model: {first_line(error)}") from error
    if description is None:
        what = "holds weights only, no model" if layers else "holds no Keras model"
        raise NotABundle(
            f"{path.name} {what}; save the whole model with model.save(), or for a model of keras.applications"
            f" use app:NAME --weights {path.name}."
        )
    return _major(_text(version)), description


def _refuse_code(path: Path, config: _ANY_JSON) -> None:
    for item in _objects(config):
        kind = str(item.get("class_name")).rpartition(">")[2]
        if kind in _CODE:
            raise ModelRefused(
                f"{path.name} has a {kind} layer, which is code that would run on this machine;"
                " if you trust where it comes from, add --trust-model."
            )
        module = item.get("module")
        if isinstance(module, str) and module.partition(".")[0] not in _KERAS_MODULES:
            raise ModelRefused(
                f"{path.name} uses {kind!r} of the Python module {module!r}, which is not Keras; where that code is,"
                " export the model with model.export('folder') and import the folder."
            )
        inner = item.get("config")
        function = inner.get("function") if kind == "TFOpLambda" and isinstance(inner, dict) else None
        if function is not None and not _is_arithmetic(str(function)):
            raise ModelRefused(
                f"{path.name} calls tf.{function}, which is no arithmetic on images;"
                " if you trust where it comes from, add --trust-model."
            )


def _is_arithmetic(function: str) -> bool:
    """Whether a function of TensorFlow's API, `math.reduce_mean` or `concat`, computes and does nothing else."""
    module, _, name = function.removeprefix("compat.v1.").rpartition(".")
    known = module.partition(".")[0] in _ARITHMETIC or module in ("", "keras.backend", "keras.activations")
    return known and not _NOT_ARITHMETIC.match(name)


def _objects(config: _ANY_JSON) -> Iterator[dict[str, Any]]:
    """Every JSON object anywhere in a configuration."""
    stack = [config]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            yield item
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _major(version: str) -> int:
    digits = version.partition(".")[0]
    return int(digits) if digits.isdigit() else 3
