"""Packages: libraries, code and bundle, as a zip for Lambda or as a folder for `docker build`."""

import hashlib
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from hybrid_batch.data.errors import PackageFailed
from hybrid_batch.data.packaging.archive import code_files, write_zip
from hybrid_batch.inference.cloud.packaging.dependencies import (
    PYTHON,
    compile_code,
    fetch_command_libraries,
    find_interpreter,
    library_archive,
)
from hybrid_batch.inference.cloud.packaging.dockerfile import TASK, dockerfile
from hybrid_batch.inference.model.atomic_directory import atomic_directory
from hybrid_batch.inference.model.bundle import Bundle

ZIP, IMAGE, CONTAINER = TARGETS = ("lambda-zip", "lambda-image", "container")
MAX_UNPACKED_BYTES = 262_144_000  # 250 MiB, the limit of Lambda for zips
# The modules and whole packages of the code in a package, below `hybrid_batch`.
_TAIL = (
    *("data.errors", "data.backoff", "data.freed_memory", "data.aws", "data.images", "data.storage"),
    *("inference.model", "inference.protocol", "inference.serving"),
)
LAMBDA_CODE = (*_TAIL, "data.terminal.escapes", "data.terminal.numbers", "inference.cloud.function")
# The commands that need neither TensorFlow nor Java, nor pip to download packages.
CONTAINER_COMMANDS = ("run", "cuts", "profile", "plan", "serve", "worker")
CONTAINER_CODE = (
    *_TAIL,
    *("__main__", "cli", "completion", "configuration", "data.log", "data.terminal"),
    *("inference.tails", "inference.runner", "inference.planner"),
    *(f"inference.commands.{name}" for name in ("options", *CONTAINER_COMMANDS)),
)


@dataclass(frozen=True, slots=True)
class PackageSettings:
    """The bundle, one of TARGETS, the processor ("x86_64" or "arm64") and the Python version of a package."""

    bundle: Bundle
    target: str = ZIP
    architecture: str = "x86_64"
    python: str = PYTHON

    @property
    def name(self) -> str:
        """The default file name."""
        return f"{self.bundle.name}-{self.target}-{self.architecture}{'.zip' if self.target == ZIP else ''}"


@dataclass(frozen=True, slots=True)
class Package:
    """A package on disk: a zip, or a folder for `docker build`. `sha256` is the hash of the zip of its files;
    `compiled` is whether it has the byte code of its modules, without which it starts slower."""

    path: Path
    target: str
    architecture: str
    python: str
    bundle_sha256: str
    sha256: str
    unpacked_bytes: int
    compiled: bool

    @property
    def runtime(self) -> str:
        """Lambda's name of the Python version."""
        return f"python{self.python}"


def build_package(settings: PackageSettings, output: Path) -> Package:
    """Write the package to `output` atomically, replacing an existing package. Equal content gives equal bytes. Raises
    PackageFailed for a zip too large for Lambda, libraries that cannot be downloaded, and errors on writing."""
    libraries = library_archive(settings.architecture, settings.python)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as scratch:
            archive = Path(scratch, "package.zip")
            shutil.copyfile(libraries, archive)
            with _own_files(settings, Path(scratch, "own")) as files:
                write_zip(archive, files)
            package = _describe(settings, archive, output)
            if settings.target == ZIP:
                _check_size(settings, package.unpacked_bytes)
                archive.replace(output)
            else:
                _write_context(settings, archive, output)
    except OSError as error:
        raise PackageFailed(f"Cannot write {output}: {error.strerror or error}; choose another --output.") from error
    return package


@contextmanager
def _own_files(settings: PackageSettings, scratch: Path) -> Iterator[dict[str, Path]]:
    """The files of the code and the bundle, by name in the package; for a container also the libraries of commands."""
    code = code_files(CONTAINER_CODE if settings.target == CONTAINER else LAMBDA_CODE)
    if settings.target == CONTAINER:
        fetch_command_libraries(scratch, settings.architecture, settings.python)
    for name, file in code.items():
        (scratch / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, scratch / name)
    # The server reports its version, which Python reads from this file.
    released = version("hybrid-batch")
    metadata = scratch / f"hybrid_batch-{released}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: hybrid-batch\nVersion: {released}\n", encoding="utf-8")
    compile_code(scratch, settings.python)
    files = {file.relative_to(scratch).as_posix(): file for file in scratch.rglob("*") if file.is_file()}
    yield files | {f"bundle/{file.name}": file for file in settings.bundle.path.iterdir() if file.is_file()}


def _describe(settings: PackageSettings, archive: Path, output: Path) -> Package:
    with zipfile.ZipFile(archive) as content:
        unpacked = sum(entry.file_size for entry in content.infolist())
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Package(
        path=output,
        target=settings.target,
        architecture=settings.architecture,
        python=settings.python,
        bundle_sha256=settings.bundle.sha256,
        sha256=digest,
        unpacked_bytes=unpacked,
        compiled=find_interpreter(settings.python) is not None,
    )


def _check_size(settings: PackageSettings, unpacked: int) -> None:
    if unpacked > MAX_UNPACKED_BYTES:
        raise PackageFailed(
            f"The package of {settings.bundle.name} has {unpacked:,} bytes unpacked, and Lambda allows "
            f"{MAX_UNPACKED_BYTES:,} for a zip; use --target {IMAGE}."
        )


def _write_context(settings: PackageSettings, archive: Path, output: Path) -> None:
    if output.exists() and not (output / "Dockerfile").is_file() and (not output.is_dir() or any(output.iterdir())):
        raise PackageFailed(f"{output} exists and is not a package; choose another --output.")
    with atomic_directory(output) as folder:
        with zipfile.ZipFile(archive) as content:
            content.extractall(folder / TASK)
        text = dockerfile(settings.target, settings.bundle, settings.architecture, settings.python)
        (folder / "Dockerfile").write_text(text, encoding="utf-8")
