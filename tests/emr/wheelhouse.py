"""Wheels made of what is installed here, so that pip needs no network in tests."""

import zipfile
from collections.abc import Callable, Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path

_INSTALLERS = {"INSTALLER", "REQUESTED", "RECORD", "direct_url.json"}


def as_it_is(content: bytes) -> bytes:
    return content


def make_wheelhouse(
    folder: Path, requirements: Iterable[str], machine: str = "x86_64", change: Callable[[bytes], bytes] = as_it_is
) -> Path:
    """A folder of wheels for `machine`, whose files went through `change`; the wheels really are x86_64's."""
    folder.mkdir()
    for requirement in requirements:
        _make_wheel(distribution(requirement.partition("==")[0]), folder, machine, change)
    return folder


def _make_wheel(installed: Distribution, folder: Path, machine: str, change: Callable[[bytes], bytes]) -> None:
    name = installed.metadata["Name"].replace("-", "_")
    wheel_file = str(installed.read_text("WHEEL")).replace("x86_64", machine)
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
