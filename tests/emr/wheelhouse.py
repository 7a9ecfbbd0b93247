"""Wheels made of what is installed here, so that pip needs no network in tests."""

import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

from emr.environment import _requirements

_INSTALLERS = {"INSTALLER", "REQUESTED", "RECORD", "direct_url.json"}


def make_wheelhouse(folder: Path) -> Path:
    """A folder of wheels of every library the environment holds."""
    folder.mkdir()
    for requirement in _requirements():
        _make_wheel(distribution(requirement.partition("==")[0]), folder)
    return folder


def _make_wheel(installed: Distribution, folder: Path) -> None:
    name = installed.metadata["Name"].replace("-", "_")
    tags = [line.split(": ")[1].split("-") for line in str(installed.read_text("WHEEL")).splitlines() if "Tag:" in line]
    tag = "-".join(".".join(sorted(set(part))) for part in zip(*tags, strict=True))
    with zipfile.ZipFile(folder / f"{name}-{installed.version}-{tag}.whl", "w") as wheel:
        for file in installed.files or ():
            if ".." in file.parts or "__pycache__" in file.parts:
                continue
            if file.parent.suffix != ".dist-info" or file.name not in _INSTALLERS:
                wheel.write(file.locate(), str(file))
            else:
                record = str(file.parent / "RECORD")
        wheel.writestr(record, "")
