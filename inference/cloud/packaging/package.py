"""The package of a tail: libraries, our code and a bundle, as a zip for Lambda or as what `docker build` takes."""

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
    fetch_server,
    interpreter,
    library_archive,
)
from hybrid_batch.inference.cloud.packaging.dockerfile import TASK, dockerfile
from hybrid_batch.inference.model.atomic_directory import new_folder
from hybrid_batch.inference.model.bundle import Bundle

ZIP, IMAGE, CONTAINER = TARGETS = ("lambda-zip", "lambda-image", "container")
MAX_UNPACKED_BYTES = 262_144_000  # 250 MiB, of a Lambda function that is a zip
_TAIL = (
    *("data.errors", "data.aws", "data.images", "data.packaging", "data.storage", "data.terminal"),
    *("inference.model", "inference.protocol", "inference.serving"),
)
_LAMBDA = (*_TAIL, "inference.cloud.function")
_CONTAINER = (
    *_TAIL,
    "cli",
    "__main__",
    "data.log",
    "inference.tails",
    "inference.runner",
    "inference.planner",
    "inference.cloud",
    "inference.commands",
)


@dataclass(frozen=True, slots=True)
class PackageSettings:
    """What is packaged, as one of TARGETS, for which processor ("x86_64" or "arm64") and Python."""

    bundle: Bundle
    target: str = ZIP
    architecture: str = "x86_64"
    python: str = PYTHON

    @property
    def name(self) -> str:
        """How the package is called unless it is told otherwise."""
        return f"{self.bundle.name}-{self.target}-{self.architecture}{'.zip' if self.target == ZIP else ''}"


@dataclass(frozen=True, slots=True)
class Package:
    """A package that was made: a zip, or a folder for `docker build`. `sha256` is that of the zip or of the files;
    `compiled` says whether the byte code of its modules is in it, without which it starts later."""

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
        """Lambda's name of the Python it is for."""
        return f"python{self.python}"


def make_package(settings: PackageSettings, output: Path) -> Package:
    """Write the package to `output`, replacing what stands there; it appears whole or not at all. Equal content gives
    equal bytes. Raises PackageFailed: a zip too large for Lambda, no libraries to be had, nowhere to write."""
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
    """Our code and the bundle, by their names in the package; in a container the server and the command as well."""
    code = code_files(_CONTAINER if settings.target == CONTAINER else _LAMBDA)
    if settings.target == CONTAINER:
        fetch_server(scratch, settings.architecture, settings.python)
    for name, file in code.items():
        (scratch / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, scratch / name)
    # The server tells its version, and Python knows of none but in such a file.
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
        compiled=interpreter(settings.python) is not None,
    )


def _check_size(settings: PackageSettings, unpacked: int) -> None:
    if unpacked > MAX_UNPACKED_BYTES:
        raise PackageFailed(
            f"{settings.bundle.name} takes {unpacked:,} bytes with what runs it, and Lambda unpacks at most "
            f"{MAX_UNPACKED_BYTES:,} from a zip; use --target {IMAGE}."
        )


def _write_context(settings: PackageSettings, archive: Path, output: Path) -> None:
    if output.exists() and not (output / "Dockerfile").is_file() and (not output.is_dir() or any(output.iterdir())):
        raise PackageFailed(f"{output} holds something else; choose another --output.")
    with new_folder(output) as folder:
        with zipfile.ZipFile(archive) as content:
            content.extractall(folder / TASK)
        text = dockerfile(settings.target, settings.bundle, settings.architecture, settings.python)
        (folder / "Dockerfile").write_text(text, encoding="utf-8")
