"""Libraries for another machine: the wheels that were built for its processor and its Python, unpacked in a folder.

It needs no Docker and no such machine: pip fetches what was built for it. There is no interpreter among them, no
script, and so no link to the machine that fetched them.
"""

import importlib.metadata
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from hybrid_batch.data.errors import PackageFailed

WHEEL_MACHINES = {"x86_64": "x86_64", "arm64": "aarch64"}  # by the name AWS gives the processor
# Amazon Linux 2023 has glibc 2.34; pip wants every older one that will do as well.
_GLIBC = (34, 31, 28, 27, 17)


def installed_here(*names: str) -> tuple[str, ...]:
    """Requirements of distributions in the versions that are installed here."""
    return tuple(f"{name}=={importlib.metadata.version(name)}" for name in names)


def fetch_wheels(folder: Path, architecture: str, python: str, requirements: Iterable[str]) -> None:
    """Unpack the wheels of `requirements`, and of nothing they depend on, into `folder`, for machines with glibc 2.34
    and this version of Python ("3.12"). Raises PackageFailed."""
    machine = WHEEL_MACHINES[architecture]
    platforms = [f"--platform=manylinux_2_{glibc}_{machine}" for glibc in _GLIBC]
    command = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--only-binary=:all:"),
        *("--disable-pip-version-check", f"--target={folder}", f"--python-version={python}"),
        *("--implementation=cp", *platforms, f"--platform=manylinux2014_{machine}", *requirements),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["it says nothing"]
        reason = next((line for line in said if line.startswith("ERROR:")), said[-1]).removeprefix("ERROR: ")
        raise PackageFailed(f"pip cannot fetch the libraries for {architecture}: {reason.rstrip('.')}; see `pip help`.")
