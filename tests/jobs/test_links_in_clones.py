"""A cloned folder of a stranger has symbolic links where commands write: nothing outside the folder changes."""

import os
from pathlib import Path

import pytest

import hybrid_batch.data
from hybrid_batch.cli import main
from hybrid_batch.data.errors import StorageFailed
from hybrid_batch.data.storage.local_storage import LocalStorage
from hybrid_batch.evaluation.output.html.markup import element
from tests.factories.records import record, write_run

KEY = "ssh-ed25519 AAAA stranger"
RECORDS = [record(image="a/1.png", label="a", prediction=f"x\n{KEY}\r\n{KEY}")]


@pytest.fixture
def sample_images() -> Path:
    return Path(hybrid_batch.data.__file__).parent / "digits" / "images"


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the user, beside the clone, which is the working folder."""
    (outside := tmp_path / "outside").mkdir()
    (outside / "mine").write_text("mine")
    (outside / f".tmp-{'0' * 16}").write_text("mine")
    os.utime(outside / f".tmp-{'0' * 16}", (0, 0))
    (tmp_path / "clone").mkdir()
    monkeypatch.chdir(tmp_path / "clone")
    return outside


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_the_default_page_is_no_link(outside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run("log/run=x", RECORDS, 1)
    Path("hybrid-batch-report.html").symlink_to(outside / "mine")
    before = content(outside)
    assert main(["report", "log"]) == 2
    assert "is a symbolic link to" in (error := capsys.readouterr().err)
    assert "--output" in error
    assert content(outside) == before
    assert main(["report", "log", "--output", str(outside / "mine")]) == 0
    page = (outside / "mine").read_text()
    assert KEY in page
    assert not any(line.startswith("ssh-") for line in page.splitlines())


def test_the_default_page_is_no_pipe(outside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run("log/run=x", RECORDS, 1)
    os.mkfifo("hybrid-batch-report.html")
    assert main(["report", "log"]) == 2
    assert "hybrid-batch-report.html is a pipe or a device" in capsys.readouterr().err


def test_a_link_that_the_user_names_keeps_its_name(outside: Path) -> None:
    write_run("log/run=x", RECORDS, 1)
    Path("page.html").symlink_to(outside / "mine")
    assert main(["report", "log", "--output", "page.html"]) == 0
    assert Path("page.html").is_symlink()
    assert (outside / "mine").read_text().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("link", ["run=x", "run=x/_report"])
@pytest.mark.parametrize("named", ["log", "log/run=x"])
def test_evaluate_writes_nothing_through_a_link_in_the_log(
    outside: Path, link: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if link == "run=x":
        write_run(str(outside), RECORDS, 1)
        Path("log").mkdir()
    else:
        write_run("log/run=x", RECORDS, 1)
    Path("log", link).symlink_to(outside)
    before = sorted(outside.iterdir())
    assert main(["evaluate", named]) == 0
    assert "is a symbolic link" in capsys.readouterr().err
    assert sorted(outside.iterdir()) == before


@pytest.mark.parametrize("link", ["hybrid-batch-log", "hybrid-batch-log/run=x"])
def test_run_writes_nothing_through_a_default_log_that_is_a_link(
    outside: Path, sample_images: Path, link: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(link).parent.mkdir(exist_ok=True)
    Path(link).symlink_to(outside)
    before = content(outside)
    run = ["run", str(sample_images), "--limit", "1", "--run-id", "x"]
    assert main([*run]) in (1, 2)
    error = capsys.readouterr().err
    assert "is a symbolic link" in error
    assert ("--log" in error) == (link == "hybrid-batch-log")
    assert content(outside) == before
    assert main([*run, "--log", str(outside)]) == 0


def test_overwrite_deletes_nothing_behind_a_link(outside: Path, sample_images: Path) -> None:
    run = ["run", str(sample_images), "--limit", "1", "--run-id", "x"]
    assert main(run) == 0
    (outside / "report.json").write_text("mine")
    Path("hybrid-batch-log/run=x/_report").symlink_to(outside)
    (outside / "mine").unlink()
    before = content(outside), sorted(Path("hybrid-batch-log/run=x").iterdir())
    assert main([*run, "--overwrite"]) == 1
    assert (content(outside), sorted(Path("hybrid-batch-log/run=x").iterdir())) == before


@pytest.mark.parametrize("command", [["import", "m.keras"], ["cloud", "package", "digits"]])
def test_other_default_outputs_are_no_links_either(
    outside: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("m.bundle", "digits-lambda-zip-arm64", "digits-lambda-zip-arm64.zip", "digits-lambda-zip-x86_64.zip"):
        Path(name).symlink_to(outside)
    Path("m.keras").touch()
    assert main(command) == 2
    assert "is a symbolic link to" in capsys.readouterr().err


def test_only_what_is_below_the_named_folder_must_be_no_link(outside: Path) -> None:
    Path("log").symlink_to(outside)
    storage = LocalStorage(Path("log"), "log")
    assert storage.child("run=x").write_once("a", b"a")
    Path("log/run=y").symlink_to(outside)
    linked = storage.child("run=y")
    for write in (linked.write_once, linked.replace):
        with pytest.raises(StorageFailed, match="is a symbolic link"):
            write("b", b"b")
    with pytest.raises(StorageFailed, match="is a symbolic link"):
        linked.remove("mine")
    with pytest.raises(StorageFailed, match="is a symbolic link"):
        storage.remove("run=y/mine")
    assert (outside / "mine").read_text() == "mine"


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\u2028", "\x85", "\x0b", "\x0c"])
def test_text_of_a_page_begins_no_line(end: str) -> None:
    assert len(element("p", f"a{end}b", title=f"a{end}b").splitlines()) == 1
