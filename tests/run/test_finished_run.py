"""A complete run that is run again: its summary comes from its log, and nothing is computed or contacted."""

import json

import pytest

from hybrid_batch.cli import main
from hybrid_batch.inference.model import runtimes
from tests.conftest import ROOT, free_port

IMAGES = ROOT / "data" / "digits" / "images"
LOCAL = ["run", str(IMAGES), "--split", "c006", "--limit", "20"]


def run(capsys, log, *arguments: object) -> dict:
    code = main([*LOCAL, "--log", str(log), *map(str, arguments), "--json"])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return json.loads(printed.out)


@pytest.fixture
def unused_runtime(monkeypatch):
    """Fail when a runtime is opened."""

    def refuse(*_, **__):
        raise AssertionError("a complete run opens no runtime")

    return lambda: monkeypatch.setattr(runtimes, "open_runtime", refuse)


def test_other_settings_are_named_as_not_applied_and_the_tail_is_not_contacted(capsys, tmp_path, unused_runtime):
    first = run(capsys, tmp_path)
    unused_runtime()
    tail = f"http://127.0.0.1:{free_port()}"
    others = ["--tail", tail, "--batch-size", 8, "--in-flight", 9, "--shard-size", 100, "--patience", 0]
    again = run(capsys, tmp_path, *others)
    assert again["not_applied"] == [
        f"--tail {tail} (this run's tail: local)",
        "--batch-size 8 (this run: 32)",
        "--shard-size 100 (this run: 512)",
        "--in-flight 9 (this run: 4)",
    ]
    assert {**again, "not_applied": []} == first
    assert main([*LOCAL, "--log", str(tmp_path), *map(str, others)]) == 0
    printed = capsys.readouterr().out
    assert f"not applied  --tail {tail} (this run's tail: local)" in printed
    assert "tail in this process" in printed
    assert f"tail in {tail}" not in printed


def test_the_same_settings_are_not_named(capsys, tmp_path, unused_runtime):
    first = run(capsys, tmp_path, "--batch-size", 8, "--shard-size", 10)
    unused_runtime()
    assert run(capsys, tmp_path, "--batch-size", 8, "--shard-size", 10) == first
    assert run(capsys, tmp_path) == first  # an option that is not given


def test_an_earliest_cut_that_the_run_did_not_have_is_named(capsys, tmp_path):
    options = ["run", str(IMAGES), "--log", str(tmp_path), "--limit", "20", "--json"]
    options += ["--tail", f"http://127.0.0.1:{free_port()}"]  # absent, so that the images stay on this machine
    for run_id, begun in (("any", ()), ("late", ("--earliest-cut", "c005"))):
        assert main([*options, "--run-id", run_id, *begun]) == 0
    capsys.readouterr()
    for run_id, expected in (("any", ["--earliest-cut c005 (this run: none)"]), ("late", [])):
        assert main([*options, "--run-id", run_id, "--earliest-cut", "c005"]) == 0
        assert json.loads(capsys.readouterr().out)["not_applied"] == expected


def test_the_totals_of_an_earlier_version_are_completed_from_the_records(capsys, tmp_path):
    first = run(capsys, tmp_path)
    (success,) = tmp_path.glob("run=*/_SUCCESS")
    stored = json.loads(success.read_text())
    for name in ("cut_bytes", "tails", "waits_us", "reason"):
        del stored[name]
    success.write_text(json.dumps(stored))
    assert run(capsys, tmp_path) == first


def test_a_run_that_was_killed_before_its_last_object_is_completed_from_its_records(capsys, tmp_path, unused_runtime):
    first = run(capsys, tmp_path)
    (success,) = tmp_path.glob("run=*/_SUCCESS")
    before = json.loads(success.read_text())
    success.unlink()
    unused_runtime()
    assert run(capsys, tmp_path) == first | {"reason": None, "events": []}
    assert json.loads(success.read_text()) == before


def test_an_incomplete_run_needs_its_tail(capsys, tmp_path):
    run(capsys, tmp_path)
    (part,) = tmp_path.glob("run=*/part-*")
    part.unlink()
    tail = f"http://127.0.0.1:{free_port()}"
    assert main([*LOCAL, "--log", str(tmp_path), "--tail", tail, "--patience", "0"]) == 1
    assert f"No answer from {tail}" in capsys.readouterr().err
