"""Libraries for another platform: wheels for its processor and Python version, unpacked in a folder.

pip downloads the wheels, so neither Docker nor a machine of that platform is needed. The folder contains no
interpreter, script or link to the local machine.
"""

import importlib.metadata
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from hybrid_batch.data.errors import PackageFailed

WHEEL_MACHINES = {"x86_64": "x86_64", "arm64": "aarch64"}  # by the name AWS gives the processor
# Amazon Linux 2023 has glibc 2.34; pip needs every compatible older version listed.
_GLIBC = (34, 31, 28, 27, 17)


def installed_requirements(*names: str, python: str) -> tuple[str, ...]:
    """Return requirements of distributions for the given Python version ("3.12"), pinned to the local versions.

    For a Python older than the running one the requirement is the newest version up to the local one: NumPy 2.5
    has wheels for Python 3.12, and none for 3.11.
    """
    relation = "<=" if _is_older(python) else "=="
    return tuple(f"{name}{relation}{importlib.metadata.version(name)}" for name in names)


def _is_older(python: str) -> bool:
    return tuple(int(part) for part in python.split(".")) < sys.version_info[:2]


def wheel_options(architecture: str, python: str) -> list[str]:
    """Return pip options that select wheels for glibc 2.34 and the given Python version ("3.12")."""
    machine = WHEEL_MACHINES[architecture]
    platforms = [f"--platform=manylinux_2_{glibc}_{machine}" for glibc in _GLIBC]
    return [
        *("--no-deps", "--only-binary=:all:", "--implementation=cp", f"--python-version={python}"),
        *(*platforms, f"--platform=manylinux2014_{machine}"),
    ]


def fetch_wheels(folder: Path, architecture: str, python: str, requirements: Iterable[str]) -> None:
    """Unpack the wheels of `requirements`, without their dependencies, into `folder`, for glibc 2.34 and the given
    Python version ("3.12"). Raises PackageFailed."""
    command = [
        *(sys.executable, "-P", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"),
        *(f"--target={folder}", *wheel_options(architecture, python), *requirements),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["it gives no reason"]
        reason = next((line for line in said if line.startswith("ERROR:")), said[-1]).removeprefix("ERROR: ")
        raise PackageFailed(f"pip cannot fetch the libraries for {architecture}: {reason.rstrip('.')}; see `pip help`.")
