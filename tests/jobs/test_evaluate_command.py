import subprocess
import sys
from pathlib import Path

import pytest
from made_records import random_records, write_run

from data.records import to_table
from evaluation.counting import count_table
from evaluation.report import build, to_json
from hybrid_batch import run as command

RECORDS = random_records(200, ["a", "b"])
EXPECTED = to_json(build(count_table(to_table(RECORDS))))


@pytest.mark.parametrize("engine", ["inline", "mrjob"])
def test_json_is_the_report_and_nothing_else(engine: str, tmp_path: Path) -> None:
    write_run(str(tmp_path / "run=x"), RECORDS, 30)
    # In a process of its own: what a library logs shows only where nobody has set logging up.
    done = subprocess.run(
        [sys.executable, "-m", "hybrid_batch", "evaluate", tmp_path, "--engine", engine, "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{EXPECTED}\n", "")


def test_the_table_is_printed_and_the_report_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(str(tmp_path / "run=x"), RECORDS, 30)
    assert command(["evaluate", str(tmp_path / "run=x"), "--output", str(tmp_path / "out" / "here")]) == 0
    assert capsys.readouterr().out.startswith("accuracy   0.")
    assert (tmp_path / "out" / "here" / "report.json").read_text() == f"{EXPECTED}\n"


def test_an_unfinished_run_is_evaluated_with_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(str(tmp_path), RECORDS, 30, finished=False)
    assert command(["evaluate", str(tmp_path), "--json"]) == 0
    out, err = capsys.readouterr()
    assert out == to_json(build(count_table(to_table(RECORDS[:180])))) + "\n"
    assert err.startswith(f"Note: {tmp_path} is unfinished: 20 of its 200 images")


@pytest.mark.parametrize("arguments", [[], ["absent"], ["nfs://host/log"], ["absent", "--engine", "abacus"]])
def test_wrong_usage_is_2(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(["evaluate", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err


@pytest.mark.parametrize(("engine", "library"), [("mrjob", "mrjob.job"), ("spark", "pyspark")])
def test_an_engine_that_is_not_installed_gives_the_pip_line(
    engine: str, library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(str(tmp_path / "run=x"), RECORDS, 200)
    monkeypatch.setitem(sys.modules, library, None)  # what Python itself holds to refuse an import
    monkeypatch.delitem(sys.modules, "jobs.evaluate_mrjob", raising=False)
    assert command(["evaluate", str(tmp_path), "--engine", engine]) == 1
    assert "run `pip install 'hybrid-batch[jobs]'`" in capsys.readouterr().err


def test_an_output_that_cannot_be_written_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(str(tmp_path / "run=x"), RECORDS, 200)
    (tmp_path / "file").write_text("")
    assert command(["evaluate", str(tmp_path), "--output", str(tmp_path / "file" / "below")]) == 1
    assert "Cannot write the report to" in capsys.readouterr().err
