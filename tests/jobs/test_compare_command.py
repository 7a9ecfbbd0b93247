import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from hybrid_batch.cli import main as command
from tests.conftest import HANG_S
from tests.factories.records import record, write_run

pytestmark = pytest.mark.slow

A = [record(image=f"{n:02d}.png", label="ab"[n % 2], prediction="ab"[n % 2]) for n in range(40)]
B = [replace(entry, prediction="b", latency_us=2 * entry.latency_us) for entry in A]


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    write_run(str(tmp_path / "run=a"), A, 7)
    write_run(str(tmp_path / "run=b"), B, 40)
    return [str(tmp_path / "run=a"), str(tmp_path / "run=b")]


def test_the_table_shows_the_differences(runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["compare", *runs]) == 0
    out, err = capsys.readouterr()
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert err == ""
    assert lines[:2] == [f"{side} {run}" for side, run in zip("AB", runs, strict=True)]
    assert "images 40 in both runs, 40 classified by both (errors: A 0, B 0), 40 with a label" in lines
    assert "McNemar A alone right 20, B alone 0: p = 1.9e-06 exact, 9.5e-07 mid-p" in lines
    assert "by label: 1 of 2 differ significantly (Holm's p < 0.05); 1 without a changed answer not listed" in lines
    assert "a 20 1.0000 0.0000 -100.00 -100.00 to -67.77 1.9e-06" in lines
    assert "changed predictions: 20 images, the first 10 by name" in lines
    assert "00.png: a → b" in lines
    assert "latency 21 µs 42 µs 2 21 µs 42 µs 2" in lines
    assert "sent 4 kB 4 kB 1" in lines


@pytest.mark.parametrize("engine", ["inline", "mrjob"])
def test_json_output_is_only_the_comparison(engine: str, runs: list[str]) -> None:
    arguments = ["compare", *runs, "--engine", engine, "--json", "--by", "codec", "--fail-if", "only_a > 0"]
    # In a separate process: log messages of libraries appear only where logging is not configured.
    done = subprocess.run(
        [sys.executable, "-m", "hybrid_batch", *arguments], capture_output=True, text=True, timeout=HANG_S, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    comparison = json.loads(done.stdout)
    assert comparison["coverage"]["changed_images"][0] == {"image": "00.png", "a": "a", "b": "b"}
    assert comparison["overall"]["only_a_right"] == 20
    assert list(comparison["slices"]) == ["codec", "folder", "label"]


def test_a_condition_that_holds_exits_with_1_and_the_value(runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    conditions = ["accuracy_drop > 0.5pt", "latency_p95_ratio > 3", "latency_p50_ratio > 1.5"]
    assert command(["compare", *runs, *(word for text in conditions for word in ("--fail-if", text))]) == 1
    out, err = capsys.readouterr()
    assert out.startswith("A  ")
    assert err == (
        "ok: latency_p95_ratio is 2, --fail-if 'latency_p95_ratio > 3' does not hold\n"
        "hybrid-batch: accuracy_drop is 50pt, so --fail-if 'accuracy_drop > 0.5pt' holds. "
        "latency_p50_ratio is 2, so --fail-if 'latency_p50_ratio > 1.5' holds.\n"
    )


@pytest.mark.parametrize("engine", ["inline", "mrjob"])
def test_unreadable_parts_are_left_out_and_named_on_request(
    engine: str, runs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    part = Path(runs[0]) / "part-00003.parquet"
    good = part.read_bytes()
    pq.write_table(pq.read_table(part), part, row_group_size=3)  # so that the footer and the first rows are readable
    broken = bytearray(part.read_bytes())
    place = pq.read_metadata(part).row_group(2).column(0).dictionary_page_offset
    broken[place : place + 20] = b"x" * 20
    part.write_bytes(broken)
    arguments = ["compare", *runs, "--engine", engine, "--json"]
    assert command(arguments) == 2
    assert "part-00003.parquet cannot be compared" in (errors := capsys.readouterr().err)
    assert errors.endswith("repeat the same `hybrid-batch run`, or leave it out with --skip-unreadable.\n")
    assert command([*arguments, "--skip-unreadable"]) == 0
    comparison = json.loads(capsys.readouterr().out)
    assert (comparison["coverage"]["both"], comparison["coverage"]["only_b"], len(comparison["bad_parts"])) == (
        33,
        7,
        1,
    )
    assert command(["compare", *runs, "--skip-unreadable"]) == 0
    assert "part-00003.parquet cannot be compared" in capsys.readouterr().out
    part.write_bytes(good)


def test_an_unfinished_run_is_compared_with_a_note(
    runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(str(tmp_path / "run=c"), B, 10, finished=False)
    assert command(["compare", runs[0], str(tmp_path / "run=c")]) == 0
    out, err = capsys.readouterr()
    assert err.startswith(f"Note: {tmp_path}/run=c is unfinished: 10 of its 40 images")
    assert "only in A   10: 30.png, " in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["{a}"], "Missing argument 'RUN_B'"),
        (["{a}", "{a}/absent"], "No folder"),
        (["{a}", "{b}", "--engine", "abacus"], "'abacus' is not one of"),
        (["{a}", "{b}", "--fail-if", "accuracy_drop > 1"], "has the unit pt"),
        (["{a}", "{b}", "--by", "colour"], "no column 'colour' to slice by"),
        (["{a}", "{b}", "--by", "top5"], "no column 'top5' to slice by"),
        (["{a}", "{log}"], "is a log of 2 runs (run=a, run=b); name one ("),
        (["{a}", "{b}", "--runner", "local"], "add --engine mrjob"),
    ],
)
def test_wrong_usage_exits_with_2(
    arguments: list[str], sentence: str, runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"a": runs[0], "b": runs[1], "log": str(tmp_path)}
    assert command(["compare", *(argument.format(**names) for argument in arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert sentence in err
    assert "Traceback" not in err


def test_different_labels_are_reported_in_one_sentence(
    runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(str(tmp_path / "run=c"), [replace(entry, label="b") for entry in B], 40)
    assert command(["compare", runs[0], str(tmp_path / "run=c")]) == 2
    assert "The runs have different labels for 20 images (00.png is 'a' in A and 'b' in B, " in capsys.readouterr().err


def test_a_missing_engine_is_reported_with_the_pip_command(
    runs: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "mrjob.job", None)  # makes Python refuse the import
    monkeypatch.delitem(sys.modules, "hybrid_batch.jobs.compare_mrjob", raising=False)
    monkeypatch.delitem(sys.modules, "hybrid_batch.jobs.engines.parts_job", raising=False)
    monkeypatch.delitem(sys.modules, "hybrid_batch.jobs.engines.mrjob_import", raising=False)
    assert command(["compare", *runs, "--engine", "mrjob"]) == 1
    assert "run `pip install 'hybrid-batch[jobs]'`" in capsys.readouterr().err
