"""Wheels for pip to find without a network: made from installed distributions, or fetched when the tests are set up.

`python -m tests.emr.wheelhouse FOLDER` fetches them for EMR's Python, unless the tests run on that Python: then what is
installed serves.
"""

import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path

from hybrid_batch.data.packaging.wheels import wheel_options
from hybrid_batch.emr.packaging.archives import PYTHON_VERSION, requirements

RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"
FETCHED = Path(sys.prefix) / "emr-wheels"  # as in the Makefile
_INSTALLERS = {"INSTALLER", "REQUESTED", "RECORD", "direct_url.json"}


def fetch_wheelhouse(folder: Path) -> None:
    """Download the wheels of EMR's environment for x86_64, with pip's own settings."""
    options = [*wheel_options("x86_64", PYTHON_VERSION), f"--dest={folder}"]
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", *options, *requirements()], check=True)


def as_it_is(content: bytes) -> bytes:
    return content


def make_wheelhouse(
    folder: Path,
    requirements: Iterable[str],
    machine: str = "x86_64",
    change: Callable[[bytes], bytes] = as_it_is,
    python: str = RUNNING,
) -> Path:
    """A folder of wheels named for `machine` and `python`, whose files went through `change`; their machine code is
    x86_64's and the running Python's."""
    folder.mkdir()
    for requirement in requirements:
        _make_wheel(distribution(re.split("[<=]=", requirement)[0]), folder, machine, change, python)
    return folder


def _make_wheel(
    installed: Distribution, folder: Path, machine: str, change: Callable[[bytes], bytes], python: str
) -> None:
    name = installed.metadata["Name"].replace("-", "_")
    wheel_file = str(installed.read_text("WHEEL")).replace("x86_64", machine)
    wheel_file = wheel_file.replace(f"cp{RUNNING.replace('.', '')}", f"cp{python.replace('.', '')}")
    tags = [line.split(": ")[1].split("-") for line in wheel_file.splitlines() if line.startswith("Tag:")]
    tag = "-".join(".".join(sorted(set(part))) for part in zip(*tags, strict=True))
    with zipfile.ZipFile(folder / f"{name}-{installed.version}-{tag}.whl", "w") as wheel:
        for file in installed.files or ():
            metadata = file.parent.suffix == ".dist-info"
            if ".." in file.parts or "__pycache__" in file.parts or (metadata and file.name in _INSTALLERS):
                continue
            if metadata and file.name == "WHEEL":
                wheel.writestr(str(file), wheel_file)
                wheel.writestr(str(file.parent / "RECORD"), "")
            else:
                wheel.writestr(str(file), change(Path(str(file.locate())).read_bytes()))


if __name__ == "__main__":
    if RUNNING == PYTHON_VERSION:
        Path(sys.argv[1]).mkdir(exist_ok=True)
    else:
        fetch_wheelhouse(Path(sys.argv[1]))
