"""The Python environment that a job needs on EMR: an archive of wheels, unpacked, for one processor.

EMR 7 has its own python3.11, so the archive holds libraries only: no interpreter, no scripts, and so no link to
the machine that built it (what venv-pack archives die of). It needs no Docker and no machine of the other
processor either: pip fetches the wheels that were built for it. Unpacked, it goes on PYTHONPATH.
"""

import hashlib
import importlib.metadata
import os
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from data.errors import PackageFailed
from inference.cache import cache_folder

PYTHON_VERSION = "3.11"
WHEEL_MACHINES = {"x86_64": "x86_64", "arm64": "aarch64"}  # by the name AWS gives the processor
_ELF_MACHINES = {"x86_64": 62, "arm64": 183}
_GLIBC = (34, 28, 27, 17)  # 2.34 is Amazon Linux 2023's; pip wants every older one that will do as well
_DISTRIBUTIONS = (
    "numpy", "pyarrow",
    "boto3", "botocore", "jmespath", "python-dateutil", "s3transfer", "six", "urllib3",
)  # fmt: skip
_MRJOB = "mrjob==0.7.4"  # its last release, which need not be installed here; its tasks do without PyYAML
_UNUSED = {"__pycache__", "bin", "examples", "include", "src", "tests"}  # serve building and testing
_UNASKED = "flight"  # the part of Arrow that no other part needs, a fifth of it
_SERVICES = {"s3", "sso", "sso-oidc", "sts"}  # of the 400 that botocore describes: a job's data, and who it is
_LAYOUT = "1"  # to be raised when the archive is made in another way
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the oldest time a zip can hold: equal content gives equal bytes


def environment_name(architecture: str) -> str:
    """The file name of the archive, which says all that decides its content."""
    recipe = "\n".join((_LAYOUT, PYTHON_VERSION, architecture, *requirements()))
    return f"environment-{architecture}-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}.zip"


def find_environment(architecture: str) -> Path | None:
    """The archive, where it was built before."""
    path = cache_folder("emr") / environment_name(architecture)
    return path if path.is_file() else None


def build_environment(architecture: str) -> Path:
    """The archive in the user's cache, built unless it stands: what both engines need, in the versions
    that are installed here, for `architecture`. Raises PackageFailed."""
    if standing := find_environment(architecture):
        return standing
    path = cache_folder("emr") / environment_name(architecture)
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent) as scratch:
        folder, archive = Path(scratch, "environment"), Path(scratch, path.name)
        _install(folder, architecture)
        write_zip(archive, {file.relative_to(folder).as_posix(): file for file in _used(folder)})
        check_machine(archive, architecture)
        archive.replace(path)
    return path


def write_zip(path: Path, files: dict[str, Path]) -> None:
    """Write `files` by their names in the archive, in one order and with one time."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as archive:
        for name, file in sorted(files.items()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, file.read_bytes())


def check_machine(archive: Path, architecture: str) -> None:
    """Raises PackageFailed for machine code that is not of `architecture`, which a job would meet an hour later."""
    with zipfile.ZipFile(archive) as content:
        for name in content.namelist():
            with content.open(name) as file:
                head = file.read(20)
            if head[:4] != b"\x7fELF":
                continue
            (machine,) = struct.unpack("<H", head[18:20])
            if machine != _ELF_MACHINES[architecture]:
                raise PackageFailed(f"{name} is no code for {architecture}; remove {archive.parent} and package again.")


def requirements() -> tuple[str, ...]:
    """What pip is asked for: what both engines need, in the versions installed here."""
    return (*(f"{name}=={importlib.metadata.version(name)}" for name in _DISTRIBUTIONS), _MRJOB)


def _install(folder: Path, architecture: str) -> None:
    machine = WHEEL_MACHINES[architecture]
    platforms = [f"--platform=manylinux_2_{glibc}_{machine}" for glibc in _GLIBC]
    command = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--only-binary=:all:"),
        *("--disable-pip-version-check", f"--target={folder}", f"--python-version={PYTHON_VERSION}"),
        *("--implementation=cp", *platforms, f"--platform=manylinux2014_{machine}", *requirements()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["it says nothing"]
        reason = next((line for line in said if line.startswith("ERROR:")), said[-1]).removeprefix("ERROR: ")
        raise PackageFailed(f"pip cannot fetch the libraries for {architecture}: {reason.rstrip('.')}; see `pip help`.")


def _used(folder: Path) -> Iterator[Path]:
    services = folder / "botocore" / "data"
    for root, folders, files in os.walk(folder):
        wanted = _SERVICES if Path(root) == services else set(folders) - _UNUSED
        folders[:] = [name for name in folders if name in wanted]
        yield from (Path(root, name) for name in files if _UNASKED not in name)
