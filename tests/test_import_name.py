"""One import name: the wheel owns `hybrid_batch` alone; modules of a user named like our rooms are not imported."""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow

ROOMS = ("data", "evaluation", "inference", "jobs", "emr")
IMAGES = ROOT / "data" / "digits" / "images" / "7"
BUILD = """
import sys
from setuptools import build_meta

print(getattr(build_meta, sys.argv[1])(sys.argv[2]))
"""


def run(command: list[object], folder: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def build(kind: str, source: Path, target: Path) -> Path:
    """Build a wheel or an sdist as pip does, with the setuptools of this environment."""
    target.mkdir(exist_ok=True)
    return target / run([sys.executable, "-c", BUILD, f"build_{kind}", target], source).splitlines()[-1]


def content(wheel: Path) -> dict[str, str]:
    """SHA-256 of the files in a wheel, by name."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the product, with its links, where a build may write beside them."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in (*ROOMS, "hybrid_batch"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", checkout, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel, its dependencies and a distribution that owns `data` and
    `inference`."""
    folder = tmp_path_factory.mktemp("environment")
    other = folder / "other"
    for name in ("data", "inference"):
        (other / name).mkdir(parents=True)
        (other / name / "__init__.py").write_text(f"OWNER = 'other {name}'\n")
    (other / "setup.cfg").write_text("[metadata]\nname = other\nversion = 1\n[options]\npackages = data, inference\n")
    others = build("wheel", other, folder / "wheels")
    run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], folder)
    python = folder / "venv" / "bin" / "python"
    site = run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], folder).strip()
    libraries = Path(sysconfig.get_path("purelib"))
    (Path(site) / "dependencies.pth").write_text(f"{libraries}\n")
    shutil.copy(libraries / "distutils-precedence.pth", site)  # on Python 3.12 mrjob needs setuptools' distutils
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "--quiet"]
    run([*install, "--ignore-installed", wheel, others], folder)
    return python


def test_the_wheel_has_one_package(wheel: Path):
    tops = {name.partition("/")[0] for name in content(wheel)}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"hybrid_batch"}


def test_the_wheel_has_every_file_of_the_product(wheel: Path):
    rooms = [ROOT / "hybrid_batch", *((ROOT / "hybrid_batch" / room) for room in ROOMS)]
    files = {
        file.relative_to(ROOT).as_posix()
        for room in rooms
        for file in room.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert files == {name for name in content(wheel) if ".dist-info/" not in name}


def test_the_sdist_builds_the_same_wheel(checkout: Path, wheel: Path, tmp_path: Path):
    sdist = build("sdist", checkout, tmp_path / "sdist")
    run(["tar", "-xf", sdist, "-C", tmp_path], tmp_path)
    again = build("wheel", tmp_path / sdist.name.removesuffix(".tar.gz"), tmp_path / "wheel")
    assert content(again) == content(wheel)


def test_an_installed_wheel_works_beside_a_distribution_with_the_names_of_our_rooms(python: Path, tmp_path: Path):
    command = python.parent / "hybrid-batch"
    run([command, "run", IMAGES, "--log", tmp_path / "log"], tmp_path)
    assert "accuracy" in run([command, "evaluate", tmp_path / "log"], tmp_path)
    run([python, "-m", "hybrid_batch.jobs.evaluate_mrjob", "-r", "inline", tmp_path / "log"], tmp_path)
    program = "import data, inference, hybrid_batch; print(data.OWNER, inference.OWNER, hybrid_batch.__file__)"
    said = run([python, "-c", program], tmp_path)
    assert said.startswith("other data other inference ")
    assert str(python.parents[1]) in said


@pytest.fixture
def working_folder(tmp_path: Path) -> Path:
    """A folder with modules of the user, named as our rooms; each writes a file when it is imported."""
    folder = tmp_path / "work"
    for room in ROOMS:
        package = folder / room
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'a').write('{room} ')\n")
    return folder


# Without PYTHONPATH tests/jobs/test_working_folder.py has the engines. What PYTHONPATH adds to the search path contains
# what `-m` adds, so the slower commands run with it only.
QUICK = (["cuts", "digits"], ["run", IMAGES, "--split", "c005", "--log", "LOG"], ["evaluate", "LOG", "--json"])
COMMANDS = (
    *QUICK,
    ["evaluate", "LOG", "--json", "--engine", "mrjob", "--runner", "local"],
    ["evaluate", "LOG", "--json", "--engine", "spark"],
    ["compare", "LOG", "LOG", "--json"],
    ["report", "LOG"],
    ["plan", "digits", "--images", IMAGES],
)


@pytest.mark.parametrize(
    ("environment", "commands"), [({}, QUICK), ({"PYTHONPATH": "."}, COMMANDS)], ids=["plain", "PYTHONPATH"]
)
def test_modules_in_the_working_folder_are_never_imported(
    working_folder: Path, environment: Mapping[str, str], commands: Sequence[Sequence[object]]
):
    log = working_folder.parent / "log"
    for command in commands:
        words = [log if word == "LOG" else word for word in command]
        run([sys.executable, "-m", "hybrid_batch", *words], working_folder, **environment)
        assert not (working_folder.parent / "imported").exists(), command
