"""The archives: complete, for the right architecture, and without links to the machine that built them."""

import struct
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from hybrid_batch.cli import main as command
from hybrid_batch.data.errors import PackageFailed
from hybrid_batch.data.packaging.archive import check_machine
from hybrid_batch.emr.packaging import archives
from hybrid_batch.emr.packaging.archives import PYTHON_VERSION, build_environment, code_archive, environment_name
from hybrid_batch.evaluation.output.canonical_json import to_json
from hybrid_batch.jobs import evaluate_inline as inline
from hybrid_batch.jobs.input.part_list import list_parts
from tests.emr.conftest import RECORDS
from tests.emr.wheelhouse import as_it_is, make_wheelhouse
from tests.emr_double.machine import bare_python
from tests.factories.records import write_run
from tests.test_architecture import IMPORTS

ROOT = Path(__file__).parents[2]
ARM64, X86_64 = 183, 62


@pytest.fixture(scope="module")
def package(packages: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the two archives unpacked, as in the working folder of a job."""
    folder = tmp_path_factory.mktemp("package")
    (folder / "code.zip").write_bytes(code_archive())
    for name, archive in (("environment", build_environment("x86_64")), ("code", folder / "code.zip")):
        with zipfile.ZipFile(archive) as content:
            content.extractall(folder / name)
    return folder


def hidden(*folders: Path) -> list[str]:
    """A command prefix that starts a mount namespace in which the folders are empty."""
    mounts = " && ".join(f'mount -t tmpfs none "{folder}"' for folder in folders)
    prefix = ["unshare", "--map-root-user", "--mount", "sh", "-c", f'{mounts} && exec "$@"', "sh"]
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine allows no mount namespaces to hide the installed libraries in")
    return prefix


def test_a_job_runs_with_the_two_archives_alone(package: Path) -> None:
    run = package / "run=x"
    write_run(str(run), RECORDS, 70)
    python = bare_python(package)
    folders = {ROOT.resolve(), Path(sys.prefix).resolve()}
    prefix = hidden(*(folder for folder in folders if not folders.intersection(folder.parents)))
    listing = subprocess.run([*prefix, "ls", "-A", *folders], capture_output=True, text=True, check=False, cwd="/")
    assert not [line for line in listing.stdout.splitlines() if line and not line.endswith(":")]
    done = subprocess.run(
        [*prefix, str(python), "-m", "hybrid_batch.jobs.evaluate_mrjob", "-r", "inline", "--no-conf", str(run)],
        cwd=package,
        env={
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": "environment:code",
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": str(package),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == to_json(inline.evaluate(list_parts([str(run)]).parts))


def test_the_archive_contains_no_path_of_this_machine(package: Path) -> None:
    # Not sys.base_prefix: a distribution's Python has /usr, which is in many files of any machine.
    paths = (ROOT, sys.executable, sysconfig.get_path("purelib"), sysconfig.get_path("stdlib"), package.parent)
    local_paths = [str(path).encode() for path in paths]
    files = [path for path in package.glob("environment/**/*") if not path.is_dir()]
    assert len(files) > 500
    for path in files:
        assert not path.is_symlink()
        content = path.read_bytes()
        assert content[:2] != b"#!" or b"python3.11" not in content[:80], path
        assert not [local for local in local_paths if local in content], path
    assert not [path for path in files if {"bin", "tests", "__pycache__"} & set(path.relative_to(package).parts)]


def test_the_code_archive_contains_only_the_rooms_that_evaluate(package: Path) -> None:
    assert [path.name for path in (package / "code").iterdir()] == ["hybrid_batch"]
    rooms = {path.name for path in (package / "code" / "hybrid_batch").iterdir()}
    assert rooms == {"__init__.py", "data", "evaluation", "inference", "jobs"}
    assert not (package / "code" / "hybrid_batch" / "data" / "digits").exists()
    assert code_archive() == code_archive()


def test_the_code_archive_contains_every_module_that_its_modules_import(package: Path) -> None:
    files = [path.relative_to(package / "code") for path in package.glob("code/**/*.py")]
    archived = {".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in files}
    missing = {(name, found) for name in archived for found in IMPORTS[name] if found not in archived}
    assert not {(name, found) for name, found in missing if name != "hybrid_batch"}  # its functions import lazily


def retag(machine: int) -> Callable[[bytes], bytes]:
    """Return a function that writes another architecture into the header of machine code."""
    return lambda file: file[:18] + struct.pack("<H", machine) + file[20:] if file[:4] == b"\x7fELF" else file


@pytest.mark.parametrize(("change", "fits"), [(retag(ARM64), True), (as_it_is, False)])
def test_machine_code_of_the_other_architecture_is_rejected(
    change: Callable[[bytes], bytes], fits: bool, tmp_path: Path, packages: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYBRID_BATCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(archives, "_DISTRIBUTIONS", ("zstandard",))
    wheels = make_wheelhouse(tmp_path / "wheels", archives.requirements(), "aarch64", change, PYTHON_VERSION)
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    if fits:
        archive = build_environment("arm64")
        with pytest.raises(PackageFailed, match="is not code for x86_64"):
            check_machine(archive, "x86_64")
    else:
        with pytest.raises(PackageFailed, match="is not code for arm64; remove"):
            build_environment("arm64")
        assert not (tmp_path / "cache" / "emr" / environment_name("arm64")).exists()


def test_unavailable_libraries_are_one_sentence(
    tmp_path: Path, packages: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HYBRID_BATCH_CACHE", str(tmp_path / "cache"))
    assert command(["emr", "package", "--arch", "arm64", "-o", str(tmp_path / "out")]) == 1
    _, err = capfd.readouterr()
    assert "pip cannot fetch the libraries for arm64: " in err
    assert "Traceback" not in err


def test_the_package_command_writes_both_archives(
    tmp_path: Path, packages: None, capfd: pytest.CaptureFixture[str]
) -> None:
    assert command(["emr", "package", "--arch", "x86_64", "-o", str(tmp_path / "out")]) == 0
    out, _ = capfd.readouterr()
    names = [Path(line.split("\t")[0]).name for line in out.splitlines()]
    assert names == ["code.zip", "environment-x86_64.zip"]
    assert (tmp_path / "out" / "environment-x86_64.zip").read_bytes() == build_environment("x86_64").read_bytes()
    (tmp_path / "file").write_text("")
    assert command(["emr", "package", "--arch", "x86_64", "-o", str(tmp_path / "file" / "below")]) == 1
    assert "choose another folder" in capfd.readouterr().err
