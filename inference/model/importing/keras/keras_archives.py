"""The check of a `.keras` file, which is a zip archive: it has the members that Keras writes, each once, of a size that
fits the file."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

from hybrid_batch.data.errors import NotABundle
from hybrid_batch.inference.model.importing.keras.hdf5_files import FREE_BYTES, MAX_UNPACKED_RATIO, check_hdf5
from hybrid_batch.inference.model.tensorflow_loader import first_line

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_CONFIG_LIMIT_BYTES = 64 << 20
_ANY_JSON = Any


def read_archive(path: Path, *, trust: bool) -> tuple[_ANY_JSON, str]:
    """The configuration in a `.keras` file, and the version of Keras that wrote it, after a check of its members.

    `trust` accepts the files of layers. Raises NotABundle, ModelRefused."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(path, archive, trust=trust)
            config = json.loads(archive.read(CONFIG))
            version = json.loads(archive.read(METADATA)).get("keras_version", "3")
            if WEIGHTS in archive.namelist():
                check_archived_weights(path, archive)
    except (KeyError, ValueError, AttributeError, RecursionError, OSError, RuntimeError, zipfile.BadZipFile) as error:
        raise NotABundle(f"{path.name} is not a complete .keras file: {first_line(error)}") from error
    return config, str(version)


def check_archived_weights(path: Path, archive: zipfile.ZipFile) -> None:
    """Check the weights in a `.keras` file. Raises ModelRefused, and exceptions of HDF5 for a damaged file."""
    import h5py

    _check_unpacked(path, archive.getinfo(WEIGHTS).file_size)
    content = io.BytesIO(archive.read(WEIGHTS))  # HDF5 jumps within it
    with h5py.File(content, "r") as weights:
        check_hdf5(path.name, weights, len(content.getbuffer()))


def _check_members(path: Path, archive: zipfile.ZipFile, *, trust: bool) -> None:
    """Raise NotABundle for members that Keras does not write, or sizes that the file cannot hold."""
    members = archive.infolist()
    names = [member.filename for member in members]
    for name in names:
        if name not in (CONFIG, METADATA, WEIGHTS, "assets/") and not (trust and _is_asset(name)):
            raise NotABundle(f"{path.name} holds {name[:200]!r}, which a Keras model without code does not contain.")
        if names.count(name) > 1:
            raise NotABundle(f"{path.name} holds {name[:200]!r} twice; that is not a Keras model.")
    unpacked = sum(member.file_size for member in members)
    if any(member.file_size > _CONFIG_LIMIT_BYTES for member in members if member.filename in (CONFIG, METADATA)):
        raise NotABundle(f"{path.name} has a configuration of over 64 MiB; that is not a Keras model.")
    _check_unpacked(path, unpacked)


def _is_asset(name: str) -> bool:
    """Whether a member is a file in the folder where layers with code keep their vocabularies."""
    folder, *parts = name.split("/")
    return (
        folder == "assets"
        and bool(parts)
        and not any(part in ("", ".", "..") or set(part) & set("\\:") for part in parts)
    )


def _check_unpacked(path: Path, unpacked: int) -> None:
    if unpacked > FREE_BYTES + MAX_UNPACKED_RATIO * path.stat().st_size:
        raise NotABundle(f"{path.name} would unpack to {unpacked >> 20} MiB; that is not a Keras model.")
