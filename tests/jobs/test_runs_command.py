"""`hybrid-batch runs`: complete, unfinished, damaged and old runs."""

import json
from pathlib import Path
from typing import Any

import pytest

from hybrid_batch.cli import main
from hybrid_batch.data.log.runs import RunFolder
from hybrid_batch.data.storage.open_storage import open_storage
from tests.conftest import ROOT
from tests.factories.records import random_records, record, write_run
from tests.factories.version_1 import write_run_1

RECORDS = random_records(10, list("abc"))


def listed(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[dict[str, Any]]:
    assert main(["runs", *map(str, arguments), "--json"]) == 0
    entries: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return entries


def write_log(uri: str) -> None:
    """A complete, an adaptive, and an unfinished run."""
    for name, settings in (
        ("a", {"created_at": "2026-01-01T10:00:00+00:00", "cut": "c005", "cut_name": "pool", "codec": "int8"}),
        ("b", {"created_at": "2026-01-03T10:00:00+00:00", "weights": "random"}),
        ("c", {"created_at": "2026-01-02T10:00:00+00:00", "identity": {"split": "auto", "codec": "fp16"}}),
    ):
        run = RunFolder(open_storage(f"{uri}/run={name}"))
        run.create({"shard_size": 4, "bundle_name": "toy", "tail": "local", **settings})
        write_run(f"{uri}/run={name}", RECORDS, 4, finished=name != "c")
        if name != "c":
            totals = {"images": 10, "errors": 1, "labelled": 8, "correct": 6}
            run.mark_complete(totals | ({"cuts": {"c001 fp16": 7, "local none": 3}} if name == "b" else {}))


@pytest.fixture(params=["local", "s3"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    uri = str(tmp_path / "log") if request.param == "local" else f"s3://{request.getfixturevalue('bucket')}/log"
    write_log(uri)
    return uri


def test_the_runs_of_a_log_are_listed_the_newest_first(log: str, capsys: pytest.CaptureFixture[str]) -> None:
    entries = listed(capsys, log)
    assert [entry["run"] for entry in entries] == ["b", "c", "a"]
    adaptive, unfinished, fixed = entries
    assert (fixed["model"], fixed["cut"], fixed["codec"], fixed["tail"]) == ("toy", "c005 pool", "int8", "local")
    assert (fixed["images"], fixed["images_total"], fixed["errors"], fixed["accuracy"]) == (10, 10, 1, 0.75)
    assert (fixed["is_complete"], fixed["created_at"]) == (True, "2026-01-01T10:00:00+00:00")
    assert (adaptive["cut"], adaptive["codec"], adaptive["weights"]) == ("c001, local", "fp16, none", "random")
    assert (unfinished["images"], unfinished["images_total"], unfinished["is_complete"]) == (8, 10, False)
    assert (unfinished["accuracy"], unfinished["cut"]) == (None, "auto")
    assert listed(capsys, f"{log}/run=a") == [fixed]


def test_a_run_that_lost_a_part_is_not_complete(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_log(str(tmp_path))
    (tmp_path / "run=a" / "part-00001.parquet").unlink()
    (entry,) = listed(capsys, tmp_path / "run=a")
    assert (entry["images"], entry["images_total"], entry["is_complete"]) == (6, 10, False)
    assert (entry["errors"], entry["accuracy"]) == (None, None)


def test_the_table_has_a_row_for_each_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_log(str(tmp_path))
    assert main(["runs", str(tmp_path)]) == 0
    header, adaptive, unfinished, fixed = capsys.readouterr().out.splitlines()
    assert header.split() == [
        "run",
        "model",
        "cut",
        "codec",
        "tail",
        "images",
        "accuracy",
        "started",
        "(UTC)",
        "complete",
    ]
    assert "toy (random weights)" in adaptive
    assert "8 of 10" in unfinished
    assert unfinished.endswith("no")
    assert fixed.split() == [
        "a",
        "toy",
        "c005",
        "pool",
        "int8",
        "local",
        "10",
        "0.7500",
        "2026-01-01",
        "10:00:00",
        "yes",
    ]


@pytest.mark.parametrize("totals", [{}, {"cuts": {"local none": 3}}, {"tails": {"local": 3}}])
def test_a_tail_that_computed_nothing_is_not_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], totals: dict[str, object]
) -> None:
    run = RunFolder(open_storage(str(tmp_path / "run=x")))
    run.create({"shard_size": 4, "tail": "http://unused", "identity": {"split": "local", "codec": "none"}})
    write_run(run.uri, RECORDS, 4)
    run.mark_complete({"images": 10, **totals})
    (entry,) = listed(capsys, tmp_path)
    assert entry["tail"] == "local"


def test_old_and_damaged_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run_1(tmp_path / "run=old", [record(image=f"{number}.png") for number in range(3)], 2, finished=False)
    (tmp_path / "run=bad").mkdir()
    (tmp_path / "run=bad" / "_run.json").write_text("{")
    assert main(["runs", str(tmp_path), "--json"]) == 0
    printed = capsys.readouterr()
    (entry,) = json.loads(printed.out)
    assert (entry["run"], entry["images"], entry["images_total"], entry["created_at"]) == ("old", 2, 3, None)
    assert printed.err.startswith(f"Warning: {tmp_path}/run=bad/_run.json is damaged")
    assert printed.err.count("\n") == 1


def test_a_folder_without_runs_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", str(tmp_path)]) == 2
    assert "contains no run" in capsys.readouterr().err


@pytest.mark.slow
def test_a_real_run_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = ROOT / "data" / "digits" / "images"
    assert main(["run", str(images), "--split", "c005", "--codec", "int8", "--log", str(tmp_path)]) == 0
    capsys.readouterr()
    (entry,) = listed(capsys, tmp_path)
    assert (entry["model"], entry["cut"].split()[0], entry["codec"], entry["tail"]) == (
        "digits",
        "c005",
        "int8",
        "local",
    )
    assert entry["images"] == entry["images_total"] == 360
    assert entry["accuracy"] > 0.98
    assert entry["is_complete"]
