"""The libraries of a tail in the cloud: wheels for its processor and its Python, less what a tail never opens."""

import hashlib
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from hybrid_batch.data.errors import PackageFailed
from hybrid_batch.data.packaging.archive import check_machine, write_zip
from hybrid_batch.data.packaging.wheels import fetch_wheels, installed_here
from hybrid_batch.inference.model.cache import cache_folder

# Lambda's python3.11 is Amazon Linux 2 with glibc 2.26, for which NumPy, Pillow and OpenVINO are built no more; its
# python3.12 is Amazon Linux 2023 with 2.34.
PYTHON = "3.12"
_TAIL = (
    "numpy", "openvino", "pillow", "zstandard",
    "boto3", "botocore", "jmespath", "python-dateutil", "s3transfer", "six", "urllib3",
)  # fmt: skip
_SERVER = ("anyio", "click", "h11", "idna", "starlette", "typing_extensions", "uvicorn")
# The last OpenVINO whose code for ARM runs with glibc 2.34 and GCC 11's libstdc++, and a NumPy it is made for.
_ARM64 = {"openvino": "2025.2.0", "numpy": "2.2.6"}
_SERVICES = {"s3", "sqs", "sts"}  # of the 400 that botocore describes
_UNUSED_NAMES = {"__pycache__", "bin", "examples", "include", "f2py", "tests"}
_UNUSED = {
    *(f"openvino/{name}" for name in ("cmake", "tools", "torch")),
    *(f"openvino/frontend/{name}" for name in ("jax", "onnx", "paddle", "pytorch", "tensorflow")),
}
_UNUSED_ENDINGS = (".a", ".h", ".pxd", ".pyi", ".pyx")
_UNUSED_FILES = ("zstandard/_cffi.",)  # its other half does the same, and is what CPython imports
_OPENVINO = (
    "libopenvino.", "libopenvino_intel_cpu_plugin.", "libopenvino_arm_cpu_plugin.", "libopenvino_tensorflow_frontend.",
    "libhwloc.", "libtbb.", "libtbbbind_", "libtbbmalloc.",
)  # fmt: skip
_LAYOUT = "1"  # to be raised when the archive is made in another way


def requirements(architecture: str) -> tuple[str, ...]:
    """What pip is asked for: the versions that are installed here, but for those that would not run there."""
    other = _ARM64 if architecture == "arm64" else {}
    here = installed_here(*(name for name in _TAIL if name not in other))
    return (*here, *(f"{name}=={version}" for name, version in other.items()))


def library_archive(architecture: str, python: str) -> Path:
    """A zip of the libraries in the user's cache, made unless it stands. Raises PackageFailed."""
    wanted = requirements(architecture)
    recipe = "\n".join((_LAYOUT, architecture, python, str(interpreter(python) is not None), *wanted))
    path = cache_folder("cloud") / f"libraries-{architecture}-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}.zip"
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=path.parent) as scratch:
            folder, archive = Path(scratch, "libraries"), Path(scratch, path.name)
            fetch_wheels(folder, architecture, python, wanted)
            _strip(folder)
            compile_code(folder, python)
            files = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}
            write_zip(archive, files)
            check_machine(archive, architecture)
            archive.replace(path)
    except OSError as error:
        raise PackageFailed(
            f"Cannot keep libraries in {path.parent}: {error.strerror or error}; set HYBRID_BATCH_CACHE to a folder "
            "with room for 500 MB."
        ) from error
    return path


def fetch_server(folder: Path, architecture: str, python: str) -> None:
    """What `hybrid-batch serve` takes besides, into an empty folder. Raises PackageFailed."""
    fetch_wheels(folder, architecture, python, server_requirements())
    _strip(folder)


def server_requirements() -> tuple[str, ...]:
    """What pip is asked for to serve over HTTP."""
    return installed_here(*_SERVER)


def compile_code(folder: Path, python: str) -> None:
    """Add the byte code of all modules in `folder`, where an interpreter of that version is at hand. The machines
    they go to cannot keep what they compile, and would compile it anew at every start."""
    program = interpreter(python)
    if program is None:
        return
    command = [program, "-P", "-s", "-S", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    done = subprocess.run(
        [*command, "-s", folder, "-p", "/", folder],
        env={"PYTHONHASHSEED": "0"},  # the order of sets would differ otherwise, and with it the bytes
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise PackageFailed(f"{program} cannot compile the code in {folder}: {done.stdout.strip()[:300]}.")


@cache
def interpreter(python: str) -> str | None:
    """A program that is Python of this version, if there is one on this machine."""
    if python == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    found = shutil.which(f"python{python}")
    if found is None:
        return None
    asked = [found, "-I", "-S", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return found if done.stdout.strip() == python else None


def _strip(folder: Path) -> None:
    """Delete what a tail never opens: 90 MB of 290, and the imports of OpenVINO's tools, half its time to start."""
    for place, folders, files in os.walk(folder):
        here = Path(place).relative_to(folder)
        for name in [name for name in folders if _is_unused_folder(here / name)]:
            shutil.rmtree(folder / here / name)
            folders.remove(name)
        for name in files:
            if _is_unused_file(here / name):
                (folder / here / name).unlink()


def _is_unused_folder(path: Path) -> bool:
    foreign_service = path.parent.as_posix() == "botocore/data" and path.name not in _SERVICES
    return foreign_service or path.name in _UNUSED_NAMES or path.as_posix() in _UNUSED


def _is_unused_file(path: Path) -> bool:
    foreign_library = path.parent.as_posix() == "openvino/libs" and not path.name.startswith(_OPENVINO)
    return foreign_library or path.name.endswith(_UNUSED_ENDINGS) or path.as_posix().startswith(_UNUSED_FILES)
