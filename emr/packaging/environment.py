"""The Python environment that a job needs on EMR: an archive of wheels, unpacked, for one processor.

EMR 7 has its own python3.11, so the archive holds libraries only: no interpreter, no scripts, and so no link to
the machine that built it (what venv-pack archives die of). Unpacked, it goes on PYTHONPATH.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from hybrid_batch.data.packaging.archive import check_machine, write_zip
from hybrid_batch.data.packaging.wheels import fetch_wheels, installed_here
from hybrid_batch.inference.model.cache import cache_folder

PYTHON_VERSION = "3.11"
_DISTRIBUTIONS = (
    "numpy", "pyarrow",
    "boto3", "botocore", "jmespath", "python-dateutil", "s3transfer", "six", "urllib3",
)  # fmt: skip
_MRJOB = "mrjob==0.7.4"  # its last release, which need not be installed here; its tasks do without PyYAML
_UNUSED = {"__pycache__", "bin", "examples", "include", "src", "tests"}  # serve building and testing
_UNASKED = "flight"  # the part of Arrow that no other part needs, a fifth of it
_SERVICES = {"s3", "sso", "sso-oidc", "sts"}  # of the 400 that botocore describes: a job's data, and who it is
_LAYOUT = "1"  # to be raised when the archive is made in another way


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
        fetch_wheels(folder, architecture, PYTHON_VERSION, requirements())
        write_zip(archive, {file.relative_to(folder).as_posix(): file for file in _used(folder)})
        check_machine(archive, architecture)
        archive.replace(path)
    return path


def requirements() -> tuple[str, ...]:
    """What pip is asked for: what both engines need, in the versions installed here."""
    return (*installed_here(*_DISTRIBUTIONS), _MRJOB)


def _used(folder: Path) -> Iterator[Path]:
    services = folder / "botocore" / "data"
    for root, folders, files in os.walk(folder):
        wanted = _SERVICES if Path(root) == services else set(folders) - _UNUSED
        folders[:] = [name for name in folders if name in wanted]
        yield from (Path(root, name) for name in files if _UNASKED not in name)
