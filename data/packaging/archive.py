"""Reproducible zip archives for other platforms, and a check of the machine code in them."""

import struct
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

from hybrid_batch import data
from hybrid_batch.data.errors import PackageFailed

_ELF_MACHINES = {"x86_64": 62, "arm64": 183}  # by the name AWS gives the processor
_ROOT = Path(data.__file__).parents[1]
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can represent


def write_zip(target: Path | IO[bytes], files: Mapping[str, Path]) -> None:
    """Append `files` to the archive by their names in it, sorted and with one time stamp."""
    with zipfile.ZipFile(target, "a", zipfile.ZIP_DEFLATED, compresslevel=3) as archive:
        for name, file in sorted(files.items()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, file.read_bytes())


def check_machine(archive: Path, architecture: str) -> None:
    """Raise PackageFailed if the archive contains machine code for another architecture."""
    with zipfile.ZipFile(archive) as content:
        for name in content.namelist():
            with content.open(name) as file:
                head = file.read(20)
            if head[:4] != b"\x7fELF":
                continue
            (machine,) = struct.unpack("<H", head[18:20])
            if machine != _ELF_MACHINES[architecture]:
                raise PackageFailed(
                    f"{name} is not code for {architecture}; remove {archive.parent} and package again."
                )


def code_files(modules: Iterable[str]) -> dict[str, Path]:
    """Return the files of modules and of whole packages ("data.errors", "inference.model") by their names in an
    archive, with the `__init__.py` of every package above them."""
    found: set[Path] = set()
    for module in modules:
        path = _ROOT.joinpath(*module.split("."))
        files = path.rglob("*") if path.is_dir() else [path.with_suffix(".py")]
        found.update(file for file in files if file.is_file() and "__pycache__" not in file.parts)
        found.update(_ROOT / parent / "__init__.py" for parent in path.relative_to(_ROOT).parents)
    return {file.relative_to(_ROOT.parent).as_posix(): file for file in found}
