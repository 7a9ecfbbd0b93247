"""The two archives that a job needs on EMR, libraries and code, and the releases and instance types they fit.

EMR 7 has its own python3.11, so the archive of libraries contains no interpreter, no scripts and thus no link to the
machine that built it, which makes venv-pack archives fail. Both archives are unpacked and put on PYTHONPATH.
"""

import hashlib
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.data.packaging.archive import check_machine, code_files, write_zip
from hybrid_batch.data.packaging.wheels import fetch_wheels, installed_requirements
from hybrid_batch.inference.model.cache import cache_folder

PYTHON_VERSION = "3.11"
DEFAULT_RELEASE = "emr-7.9.0"
_DISTRIBUTIONS = (
    "numpy", "pyarrow",
    "boto3", "botocore", "jmespath", "python-dateutil", "s3transfer", "six", "urllib3",
)  # fmt: skip
_MRJOB = "mrjob==0.7.4"  # its last release, not necessarily installed locally; its tasks do not need PyYAML
_UNUSED_FOLDERS = {"__pycache__", "bin", "examples", "include", "src", "tests"}
_UNUSED_LIBRARY = "flight"  # a fifth of Arrow, used by no other part of it
_SERVICES = {"s3", "sso", "sso-oidc", "sts"}  # of botocore's 400 services: data and credentials
_LAYOUT = "1"  # increase it when the same requirements give another archive
_MODULES = (
    *(
        "data.aws",
        "data.backoff",
        "data.errors",
        "data.freed_memory",
        "data.images",
        "data.log",
        "data.storage",
        "data.terminal",
    ),
    *("evaluation", "inference.model.cache", "jobs.engines", "jobs.input", "jobs.output"),
    *("jobs.compare_inline", "jobs.compare_mrjob", "jobs.compare_spark"),
    *("jobs.evaluate_inline", "jobs.evaluate_mrjob", "jobs.evaluate_spark"),
)
_RELEASE = re.compile(r"emr-(\d+)\.\d+\.\d+")
_GRAVITON = re.compile(r"a1\.|[a-z]+\d+[a-z]*g[a-z]*\.")  # m6g, c7gn, x2gd, im4gn, …; the g of g4dn is in front


def code_archive() -> bytes:
    """Return a zip of the modules that evaluate and compare runs; equal code gives equal bytes."""
    target = io.BytesIO()
    write_zip(target, code_files(_MODULES))
    return target.getvalue()


def environment_name(architecture: str) -> str:
    """Return the file name of the archive of libraries; it identifies the content."""
    recipe = "\n".join((_LAYOUT, PYTHON_VERSION, architecture, *requirements()))
    return f"environment-{architecture}-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}.zip"


def find_environment(architecture: str) -> Path | None:
    """Return the archive of libraries from the cache, or None if it was not built yet."""
    path = cache_folder("emr") / environment_name(architecture)
    return path if path.is_file() else None


def build_environment(architecture: str) -> Path:
    """Return the archive of libraries for x86_64 or arm64 from the cache; build it if necessary. Raises
    PackageFailed."""
    if cached := find_environment(architecture):
        return cached
    path = cache_folder("emr") / environment_name(architecture)
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent) as scratch:
        folder, archive = Path(scratch, "environment"), Path(scratch, path.name)
        fetch_wheels(folder, architecture, PYTHON_VERSION, requirements())
        write_zip(archive, {file.relative_to(folder).as_posix(): file for file in _used_files(folder)})
        check_machine(archive, architecture)
        archive.replace(path)
    return path


def requirements() -> tuple[str, ...]:
    """Return the requirements of both engines, in the local versions where these have wheels."""
    return (*installed_requirements(*_DISTRIBUTIONS, python=PYTHON_VERSION), _MRJOB)


def _used_files(folder: Path) -> Iterator[Path]:
    services = folder / "botocore" / "data"
    for root, folders, files in os.walk(folder):
        used = _SERVICES if Path(root) == services else set(folders) - _UNUSED_FOLDERS
        folders[:] = [name for name in folders if name in used]
        yield from (Path(root, name) for name in files if _UNUSED_LIBRARY not in name)


def check_release(release: str, required: str | None = None) -> str:
    """Return the EMR release. Raises WrongUsage for a release before EMR 7, which has no Python 3.11, and for one other
    than `required`."""
    match = _RELEASE.fullmatch(release)
    if not match:
        raise WrongUsage(f"{release!r} is not an EMR release; use the form {DEFAULT_RELEASE}.")
    if int(match[1]) < 7:
        raise WrongUsage(f"{release} has no Python {PYTHON_VERSION}; use {DEFAULT_RELEASE} or another EMR 7.")
    if required and required != release:
        raise WrongUsage(f"The target runs {release}, not {required}; omit --release or choose another target.")
    return release


def architecture_of(instance_type: str) -> str:
    """Return `arm64` for a Graviton instance type, else `x86_64`."""
    return "arm64" if _GRAVITON.match(instance_type) else "x86_64"
