"""Records that this user did not write: every command that reads them names them."""

import json
import shutil
from pathlib import Path

import pytest

import hybrid_batch.data
from hybrid_batch.cli import main
from hybrid_batch.data.log.own_runs import is_own
from hybrid_batch.data.log.runs import RunFolder
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.inference.model.cache import cache_folder
from tests.factories.records import record, write_run

IMAGES = Path(hybrid_batch.data.__file__).parent / "digits" / "images"
RUN = ["run", str(IMAGES), "--limit", "2", "--shard-size", "1"]
FOREIGN = "not written by this user on this machine"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_as_another_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The default log of a run that another user's cache has noted."""
    with monkeypatch.context() as patch:
        patch.setenv("HYBRID_BATCH_CACHE", str(tmp_path / "cache"))
        assert main(RUN) == 0
    (run,) = Path("hybrid-batch-log").iterdir()
    return run


def test_a_complete_run_of_another_is_named_as_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_as_another_user(monkeypatch, tmp_path)
    capsys.readouterr()
    assert main([*RUN, "--verify-images"]) == 0
    out, err = capsys.readouterr()
    assert FOREIGN in err
    assert "--overwrite" in err
    assert out.startswith("written by ")
    assert main([*RUN, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["own"] is False
    assert main([*RUN, "--overwrite"]) == 0
    capsys.readouterr()
    assert main([*RUN, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["own"] is True
    assert FOREIGN not in err


def test_a_run_of_another_that_is_continued_stays_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_as_another_user(monkeypatch, tmp_path)
    (run / "part-00001.parquet").unlink()
    (run / "_SUCCESS").unlink()
    capsys.readouterr()
    for _ in range(2):
        assert main([*RUN, "--json"]) == 0
        out, err = capsys.readouterr()
        assert FOREIGN in err
        assert json.loads(out)["own"] is False


COMMANDS = [["evaluate", "log"], ["report", "log"], ["compare", "log", "log"], ["export", "log"], ["runs", "log"]]


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_every_command_that_reads_records_names_foreign_ones(
    command: list[str], own: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run("log/run=x", [record()], 1, own=own)
    assert main(command) == 0
    assert (FOREIGN in capsys.readouterr().err) is not own


def test_the_list_of_runs_states_whose_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    write_run("log/run=mine", [record()], 1)
    write_run("log/run=theirs", [record()], 1, own=False)
    assert main(["runs", "log", "--json"]) == 0
    assert {entry["run"]: entry["own"] for entry in json.loads(capsys.readouterr().out)} == {
        "mine": True,
        "theirs": False,
    }


def test_another_run_in_the_place_of_an_own_one_and_a_copy_elsewhere_are_foreign(tmp_path: Path) -> None:
    cache = cache_folder("own")
    own = write_run(str(tmp_path / "log" / "run=x"), [record()], 1)
    assert is_own(cache, own)
    assert is_own(cache, RunFolder(open_storage((tmp_path / "log" / "run=x").as_uri())))
    shutil.copytree("log", "copy")
    assert not is_own(cache, RunFolder(open_storage("copy/run=x")))
    settings = tmp_path / "log" / "run=x" / "_run.json"
    settings.write_text(settings.read_text().replace("{", '{"created_at": "2026-01-01",', 1))
    assert not is_own(cache, own)
    settings.unlink()
    assert not is_own(cache, own)


def test_a_run_is_noted_before_its_first_file(tmp_path: Path) -> None:
    run = RunFolder(open_storage(str(tmp_path / "run=x")))
    files: list[bool] = []
    run.create({"shard_size": 1}, lambda digest: files.append((tmp_path / "run=x").exists()))
    assert files == [False]
    digests: list[str] = []
    run.create({"shard_size": 1}, digests.append)
    assert digests == [run.settings_sha256()]


def test_a_run_on_s3_is_own_on_one_machine_only(bucket: str, tmp_path: Path) -> None:
    run = write_run(f"s3://{bucket}/log/run=x", [record()], 1)
    assert is_own(cache_folder("own"), run)
    assert not is_own(tmp_path, run)
