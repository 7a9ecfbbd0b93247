"""EMR releases, and the processors of EC2's machines: what decides whether a job fits, and which libraries it gets."""

import re

from hybrid_batch.data.errors import WrongUsage

DEFAULT = "emr-7.9.0"
_RELEASE = re.compile(r"emr-(\d+)\.\d+\.\d+")
_GRAVITON = re.compile(r"a1\.|[a-z]+\d+[a-z]*g[a-z]*\.")  # m6g, c7gn, x2gd, im4gn, …; g4dn has its g elsewhere


def check_release(release: str, wanted: str | None = None) -> str:
    """The release. Raises WrongUsage for one before EMR 7, which has no Python 3.11, or when another is wanted."""
    match = _RELEASE.fullmatch(release)
    if not match:
        raise WrongUsage(f"{release!r} is no EMR release; write it like {DEFAULT}.")
    if int(match[1]) < 7:
        raise WrongUsage(f"{release} has no Python 3.11, which the job needs; use {DEFAULT} or another of EMR 7.")
    if wanted and wanted != release:
        raise WrongUsage(f"It runs {release}, not the {wanted} asked for; leave --release out, or name another place.")
    return release


def architecture_of(instance_type: str) -> str:
    """`arm64` for Graviton machines, else `x86_64`."""
    return "arm64" if _GRAVITON.match(instance_type) else "x86_64"
