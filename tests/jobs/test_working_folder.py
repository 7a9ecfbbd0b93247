"""Modules in the working folder change nothing: the commands and their workers import the installed packages only."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import HANG_S
from tests.factories.records import random_records, write_run

pytestmark = pytest.mark.slow

RECORDS = random_records(60, ["a", "b"])
FORMER_PACKAGES = ("data", "evaluation", "inference", "jobs", "emr", "results", "commands", "input", "output")
LIBRARIES = ("numpy", "pyarrow", "mrjob", "pyspark", "click", "json")
COMMAND = str(Path(sys.executable).with_name("hybrid-batch"))
ENGINES = ("inline", "mrjob", "mrjob --runner local", "mrjob --runner spark", "spark")


def fill(folder: Path, names: tuple[str, ...]) -> Path:
    """Write modules and packages with these names, which write the file `imported` when they are imported."""
    marker = folder / "imported"
    for number, name in enumerate(names):
        module = folder / name / "__init__.py" if number % 2 else folder / f"{name}.py"
        module.parent.mkdir(exist_ok=True)
        module.write_text(f"open({str(marker)!r}, 'a').write({name + ' '!r})\n")
    return marker


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=HANG_S, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = str(tmp_path_factory.mktemp("log"))
    write_run(f"{uri}/run=a", RECORDS, 20)
    write_run(f"{uri}/run=b", RECORDS, 30)
    return uri


@pytest.fixture(scope="module")
def expected(log: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    empty = tmp_path_factory.mktemp("empty")
    return {name: run(empty, COMMAND, *arguments) for name, arguments in commands(log).items()}


def commands(log: str) -> dict[str, list[str]]:
    return {
        "evaluate": ["evaluate", f"{log}/run=a", "--json", "--no-files"],
        "compare": ["compare", f"{log}/run=a", f"{log}/run=b", "--json"],
    }


@pytest.mark.parametrize(
    ("name", "engine"),
    [*(("evaluate", engine) for engine in ENGINES), ("compare", "mrjob --runner local"), ("compare", "spark")],
)
def test_commands_import_nothing_from_the_working_folder(
    name: str, engine: str, log: str, expected: dict[str, str], tmp_path: Path
) -> None:
    marker = fill(tmp_path, (*FORMER_PACKAGES, *LIBRARIES))
    assert run(tmp_path, COMMAND, *commands(log)[name], "--engine", *engine.split()) == expected[name]
    assert not marker.exists(), marker.read_text()


@pytest.mark.parametrize("script", ["evaluate_mrjob -r local --no-conf --no-bootstrap-mrjob -q", "evaluate_spark"])
def test_scripts_import_no_module_with_the_name_of_a_former_package(
    script: str, log: str, expected: dict[str, str], tmp_path: Path
) -> None:
    """`python -m` itself puts the working folder on the path, so modules with the names of libraries are not tested."""
    marker = fill(tmp_path, FORMER_PACKAGES)
    job, *options = script.split()
    assert (
        run(tmp_path, sys.executable, "-m", f"hybrid_batch.jobs.{job}", *options, f"{log}/run=a")
        == expected["evaluate"]
    )
    assert not marker.exists(), marker.read_text()
