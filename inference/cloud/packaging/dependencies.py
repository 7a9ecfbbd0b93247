"""The libraries of a package: wheels for its processor and Python version, without files that a tail never opens."""

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
from hybrid_batch.data.packaging.wheels import fetch_wheels, installed_requirements
from hybrid_batch.inference.model.cache import cache_folder

# Lambda's python3.11 runs on Amazon Linux 2 with glibc 2.26, for which NumPy, Pillow and OpenVINO have no wheels any
# more; python3.12 runs on Amazon Linux 2023 with glibc 2.34.
PYTHON = "3.12"
_TAIL = (
    "msgspec", "numpy", "openvino", "pillow", "zstandard",
    "boto3", "botocore", "jmespath", "python-dateutil", "s3transfer", "six", "urllib3",
)  # fmt: skip
_COMMANDS = (  # of the commands in a container
    "anyio", "certifi", "click", "h11", "httpcore", "httpx", "idna", "markdown-it-py", "mdurl", "psutil",
    "prometheus_client", "pyarrow", "pygments", "rich", "starlette", "typing_extensions", "uvicorn",
)  # fmt: skip
# The last OpenVINO for ARM that runs with glibc 2.34 and the libstdc++ of GCC 11, and a NumPy that it supports.
_ARM64 = {"openvino": "2025.2.0", "numpy": "2.2.6"}
_SERVICES = {"s3", "sqs", "sts"}  # of about 400 in botocore
_UNUSED_NAMES = {"__pycache__", "bin", "examples", "include", "f2py", "tests"}
_UNUSED = {
    *(f"openvino/{name}" for name in ("cmake", "tools", "torch")),
    *(f"openvino/frontend/{name}" for name in ("jax", "onnx", "paddle", "pytorch", "tensorflow")),
}
_UNUSED_ENDINGS = (".a", ".h", ".pxd", ".pyi", ".pyx")
_UNUSED_FILES = ("zstandard/_cffi.",)  # CPython imports the other implementation
_OPENVINO = (
    "libopenvino.", "libopenvino_intel_cpu_plugin.", "libopenvino_arm_cpu_plugin.", "libopenvino_tensorflow_frontend.",
    "libhwloc.", "libtbb.", "libtbbbind_", "libtbbmalloc.",
)  # fmt: skip
_LAYOUT = "1"  # increase when the layout of the archive changes


def requirements(architecture: str, python: str = PYTHON) -> tuple[str, ...]:
    """The requirements for pip: the versions installed on this machine, except those that do not run on the target."""
    pinned = _ARM64 if architecture == "arm64" else {}
    installed = installed_requirements(*(name for name in _TAIL if name not in pinned), python=python)
    return (*installed, *(f"{name}=={version}" for name, version in pinned.items()))


def library_archive(architecture: str, python: str) -> Path:
    """The zip of the libraries in the user's cache, built unless it exists. Raises PackageFailed."""
    wanted = requirements(architecture, python)
    recipe = "\n".join((_LAYOUT, architecture, python, str(find_interpreter(python) is not None), *wanted))
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
            f"Cannot cache libraries in {path.parent}: {error.strerror or error}; set HYBRID_BATCH_CACHE to a folder "
            "with 500 MB of free space."
        ) from error
    return path


def fetch_command_libraries(folder: Path, architecture: str, python: str) -> None:
    """Download the additional libraries of the commands in a container into an empty folder. Raises PackageFailed."""
    fetch_wheels(folder, architecture, python, command_requirements(python))
    _strip(folder)


def command_requirements(python: str = PYTHON) -> tuple[str, ...]:
    """The requirements for pip of the commands in a container."""
    return installed_requirements(*_COMMANDS, python=python)


def compile_code(folder: Path, python: str) -> None:
    """Add the byte code of all modules in `folder`, if this machine has a Python of that version. Otherwise machines
    without a writable disk compile the modules at every start."""
    program = find_interpreter(python)
    if program is None:
        return
    command = [program, "-P", "-s", "-S", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    done = subprocess.run(
        [*command, "-s", folder, "-p", "/", folder],
        env={"PYTHONHASHSEED": "0"},  # else the order of sets, and so the bytes, would differ
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise PackageFailed(f"{program} cannot compile the code in {folder}: {done.stdout.strip()[:300]}.")


@cache
def find_interpreter(python: str) -> str | None:
    """The path of a Python of this version on this machine, or None."""
    if python == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    found = shutil.which(f"python{python}")
    if found is None:
        return None
    command = [found, "-I", "-S", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return found if done.stdout.strip() == python else None


def _strip(folder: Path) -> None:
    """Delete files that a tail never opens: 90 of 290 MB, and OpenVINO's tools, whose imports take half the start."""
    for path, folders, files in os.walk(folder):
        parent = Path(path).relative_to(folder)
        for name in [name for name in folders if _is_unused_folder(parent / name)]:
            shutil.rmtree(folder / parent / name)
            folders.remove(name)
        for name in files:
            if _is_unused_file(parent / name):
                (folder / parent / name).unlink()


def _is_unused_folder(path: Path) -> bool:
    foreign_service = path.parent.as_posix() == "botocore/data" and path.name not in _SERVICES
    return foreign_service or path.name in _UNUSED_NAMES or path.as_posix() in _UNUSED


def _is_unused_file(path: Path) -> bool:
    foreign_library = path.parent.as_posix() == "openvino/libs" and not path.name.startswith(_OPENVINO)
    return foreign_library or path.name.endswith(_UNUSED_ENDINGS) or path.as_posix().startswith(_UNUSED_FILES)
