import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hybrid_batch.cli import main as command
from hybrid_batch.data.log.records import to_table
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.evaluation.counting.record_counter import count_table
from hybrid_batch.evaluation.output.canonical_json import to_json
from hybrid_batch.evaluation.report import build_report
from hybrid_batch.jobs.input.part_list import list_parts
from tests.conftest import HANG_S
from tests.factories.records import random_records, write_run

pytestmark = pytest.mark.slow

RECORDS = random_records(200, ["a", "b"])
EXPECTED = to_json(build_report(count_table(to_table(RECORDS))))


@pytest.mark.parametrize(
    "engine", [["inline"], ["mrjob"], ["mrjob", "--runner", "local"], ["mrjob", "--runner", "spark"]], ids=" ".join
)
def test_json_output_is_only_the_report(engine: list[str], tmp_path: Path) -> None:
    write_run(str(tmp_path / "run=x"), RECORDS, 30)
    # In a separate process: log messages of libraries appear only where logging is not configured.
    done = subprocess.run(
        [sys.executable, "-m", "hybrid_batch", "evaluate", tmp_path, "--engine", *engine, "--json"],
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{EXPECTED}\n", "")


FILES = [
    *("confusion.csv", "failures.csv", "latency.csv", "per_class.csv"),
    *("report.html", "report.json", "slices.csv"),
]


def test_the_table_is_printed_and_files_are_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(str(tmp_path / "run=x"), RECORDS, 30)
    out = tmp_path / "out" / "below"
    for _ in range(2):
        assert command(["evaluate", str(tmp_path / "run=x"), "--output", str(out)]) == 0
        printed, err = capsys.readouterr()
        assert printed.startswith("accuracy    0.")
        assert err == f"report      {out}/report.html\n"
        assert sorted(file.name for file in out.iterdir()) == FILES
        assert (out / "report.json").read_text() == f"{EXPECTED}\n"
        (out / "report.json").write_text("of another day")
    assert not (tmp_path / "run=x" / "_report").exists()


def test_files_are_written_to_the_run_unless_no_files_is_given(
    bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for log in (str(tmp_path), f"s3://{bucket}/log"):
        for name in ("x", "y"):
            write_run(f"{log}/run={name}", RECORDS, 30)
        assert command(["evaluate", f"{log}/run=x"]) == 0
        assert command(["evaluate", f"{log}/run=y", "--no-files"]) == 0
        assert command(["evaluate", f"{log}/run=x", f"{log}/run=y"]) == 0
        written = sorted(entry.name for entry in open_storage(log).list_files() if "/_report/" in entry.name)
        assert written == [f"run=x/_report/{name}" for name in FILES]
        assert len(list_parts([f"{log}/run=x"]).parts) == 7
    assert open_storage(log).read("run=x/_report/report.json").decode() == f"{EXPECTED}\n"
    assert "200 of the 400 images of these runs are repeated; every repetition is counted." in capsys.readouterr().err


def test_a_read_only_log_is_evaluated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(str(tmp_path), RECORDS, 200)
    (tmp_path / "_report").write_text("not a folder")
    assert command(["evaluate", str(tmp_path), "--json"]) == 0
    out, err = capsys.readouterr()
    assert out == f"{EXPECTED}\n"
    assert err.startswith(f"Note: Cannot write {tmp_path}/_report/report.json")


def test_files_are_written_after_the_reader_closes_the_pipe(tmp_path: Path) -> None:
    write_run(str(tmp_path), RECORDS, 200)
    outward, inward = os.pipe()
    os.close(outward)
    arguments = [sys.executable, "-m", "hybrid_batch", "evaluate", tmp_path]
    done = subprocess.run(arguments, stdout=inward, stderr=subprocess.PIPE, check=False)
    os.close(inward)
    assert (done.returncode, done.stderr) == (141, b"")  # as for other programs that a closed pipe ends
    assert sorted(file.name for file in (tmp_path / "_report").iterdir()) == FILES


def test_all_runs_of_a_log_are_evaluated_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, records in (("x", RECORDS[:90]), ("y", RECORDS[90:])):
        write_run(str(tmp_path / f"run={name}"), records, 30)
    assert command(["evaluate", str(tmp_path), "--json"]) == 2
    assert "or add --all-runs" in capsys.readouterr().err
    assert command(["evaluate", str(tmp_path), "--json", "--all-runs"]) == 0
    assert capsys.readouterr().out == f"{EXPECTED}\n"


@pytest.mark.parametrize("engine", ["inline", "mrjob"])
def test_unreadable_parts_are_skipped_and_named_on_request(
    engine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(str(tmp_path), RECORDS, 50)
    (tmp_path / "part-00001.parquet").write_bytes(b"PAR1")
    arguments = ["evaluate", str(tmp_path), "--engine", engine, "--json", "--no-files", "--by", "batch"]
    assert command(arguments) == 2
    assert "part-00001.parquet cannot be counted" in capsys.readouterr().err
    assert command([*arguments, "--skip-unreadable"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["coverage"]["records"], len(report["bad_parts"])) == (150, 1)
    assert [entry["value"] for entry in report["slices"]["batch"]] == ["8"]


def test_the_csv_files_agree_with_the_report(tmp_path: Path) -> None:
    write_run(str(tmp_path), RECORDS, 50)
    assert command(["evaluate", str(tmp_path), "--by", "batch"]) == 0
    tables = {
        name: list(csv.DictReader((tmp_path / "_report" / name).read_text().splitlines()))
        for name in FILES
        if name.endswith(".csv")
    }
    report = json.loads((tmp_path / "_report" / "report.json").read_text())
    assert [int(row["records"]) for row in tables["confusion.csv"]] == report["confusion"]["records"]
    assert [float(row["f1_high"]) for row in tables["per_class.csv"]] == [
        row["f1"]["high"] for row in report["per_class"]
    ]
    overall = [row for row in tables["latency.csv"] if row["by"] == ""]
    assert sorted(row["stage"] for row in overall) == list(report["overall"]["stages"])
    assert overall[-1]["stage"] == "latency"
    assert float(overall[-1]["p999_us"]) == report["overall"]["stages"]["latency"]["p999_us"]
    assert {row["by"] for row in tables["latency.csv"]} == {"", *report["slices"]}
    first = tables["slices.csv"][0]
    for name in ("cut_bytes", "sent_bytes", "image_bytes"):
        assert int(first[name]) == report["overall"][name]
    assert [row["image"] for row in tables["failures.csv"]] == [entry["image"] for entry in report["failures"]]


def test_an_unfinished_run_is_evaluated_with_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(str(tmp_path), RECORDS, 30, finished=False)
    assert command(["evaluate", str(tmp_path), "--json"]) == 0
    out, err = capsys.readouterr()
    assert out == to_json(build_report(count_table(to_table(RECORDS[:180])))) + "\n"
    assert err.startswith(f"Note: {tmp_path} is unfinished: 20 of its 200 images")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["absent"],
        ["nfs://host/log"],
        ["absent", "--engine", "abacus"],
        ["absent", "--by", "x"],
        ["absent", "--runner", "local"],
        ["absent", "--no-files", "--output", "out"],
    ],
)
def test_wrong_usage_exits_with_2(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(["evaluate", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err


@pytest.mark.parametrize(("engine", "library"), [("mrjob", "mrjob.job"), ("spark", "pyspark")])
def test_a_missing_engine_is_reported_with_the_pip_command(
    engine: str, library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(str(tmp_path / "run=x"), RECORDS, 200)
    monkeypatch.setitem(sys.modules, library, None)  # makes Python refuse the import
    monkeypatch.delitem(sys.modules, "hybrid_batch.jobs.evaluate_mrjob", raising=False)
    monkeypatch.delitem(sys.modules, "hybrid_batch.jobs.engines.parts_job", raising=False)
    monkeypatch.delitem(sys.modules, "hybrid_batch.jobs.engines.mrjob_import", raising=False)
    assert command(["evaluate", str(tmp_path), "--engine", engine]) == 1
    assert "run `pip install 'hybrid-batch[jobs]'`" in capsys.readouterr().err


def test_an_unwritable_output_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(str(tmp_path / "run=x"), RECORDS, 200)
    (tmp_path / "file").write_text("")
    assert command(["evaluate", str(tmp_path), "--output", str(tmp_path / "file" / "below")]) == 1
    assert "Cannot write" in capsys.readouterr().err


def test_runs_of_several_models_are_evaluated_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, bundle in (("x", "e" * 64), ("y", "f" * 64), ("z", "f" * 64)):
        run = tmp_path / f"run={name}"
        write_run(str(run), RECORDS[:30], 30)
        (run / "_run.json").write_text(json.dumps({"format": 1, "shard_size": 30, "identity": {"bundle": bundle}}))
    assert command(["evaluate", str(tmp_path), "--json", "--all-runs"]) == 0
    assert "These 3 runs are of 2 models (eeeeeeeeeeee, ffffffffffff), which the scores mix" in capsys.readouterr().err
    assert command(["evaluate", str(tmp_path / "run=y"), str(tmp_path / "run=z"), "--json"]) == 0
    assert "are of" not in capsys.readouterr().err


def test_random_weights_are_named_by_evaluate_compare_and_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sentence = "toy has random weights, so its predictions and accuracy carry no meaning; only times and bytes do."
    run = tmp_path / "run=x"
    write_run(str(run), RECORDS[:30], 30)
    settings = {"format": 1, "shard_size": 30, "bundle_name": "toy", "weights": "random"}
    (run / "_run.json").write_text(json.dumps(settings))
    assert command(["evaluate", str(run)]) == 0
    assert sentence in capsys.readouterr().err
    assert (run / "_report" / "report.html").read_text().count(sentence) == 1
    assert command(["compare", str(run), str(run)]) == 0
    assert sentence in capsys.readouterr().err
    (run / "_run.json").write_text(json.dumps({**settings, "weights": None}))
    assert command(["evaluate", str(run), "--output", str(tmp_path / "again")]) == 0
    assert "random weights" not in capsys.readouterr().err
    assert "random weights" not in (tmp_path / "again" / "report.html").read_text()
