"""The options of `hybrid-batch run` that limit, describe or repeat a run, and the wait for an absent tail."""

import io
import json
import re
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from hybrid_batch.cli import main
from hybrid_batch.data.log.runs import RunFolder, run_folder
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.inference.commands.run.overwrite import find_existing, remove_run
from hybrid_batch.inference.runner.run_identity import RunIdentity
from tests.conftest import COMMAND, HANG_S, ROOT, free_port
from tests.run_logs import read_records

IMAGES = ROOT / "data" / "digits" / "images"


def run(capsys, *arguments: object) -> dict:
    code = main(["run", str(IMAGES), *map(str, arguments), "--json"])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return json.loads(printed.out)


def files(folder) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_limit_takes_the_first_images_and_makes_a_run_of_its_own(capsys, tmp_path):
    whole = run(capsys, "--log", tmp_path / "whole", "--split", "c006")
    some = run(capsys, "--log", tmp_path / "some", "--split", "c006", "--limit", 7)
    names = [record["image"] for record in read_records(tmp_path / "whole")]
    assert [record["image"] for record in read_records(tmp_path / "some")] == names[:7]
    assert some["run"].rpartition("=")[2] != whole["run"].rpartition("=")[2]
    more = run(capsys, "--log", tmp_path / "more", "--split", "c006", "--limit", 1000)
    assert more["run"].rpartition("=")[2] == whole["run"].rpartition("=")[2]


def test_a_dry_run_describes_the_run_and_writes_nothing(capsys, tmp_path):
    tail = f"http://user:secret@127.0.0.1:{free_port()}"
    options = ["--log", tmp_path / "log", "--split", "c006", "--codec", "int8", "--limit", 20, "--shard-size", 8]
    facts = run(capsys, *options, "--tail", tail, "--dry-run")
    assert not (tmp_path / "log").exists()
    assert (facts["images"], facts["labelled"], facts["cut"], facts["codec"]) == (20, 20, "c006", "int8")
    assert facts["tail"] == tail.replace("user:secret@", "")
    assert (facts["shards"], facts["shards_present"], facts["images_left"]) == (3, 0, 20)
    done = run(capsys, *options)
    assert done["run"] == facts["run"]
    (part,) = tmp_path.glob("log/run=*/part-00000.parquet")
    part.unlink()
    before = files(tmp_path)
    facts = run(capsys, *options, "--dry-run")
    assert (facts["shards"], facts["shards_present"], facts["images_left"]) == (3, 2, 8)
    facts = run(capsys, *options, "--dry-run", "--overwrite")
    assert (facts["objects_deleted"], facts["images_left"]) == (len(before), 20)
    assert files(tmp_path) == before
    assert main(["run", str(IMAGES), *map(str, options), "--dry-run"]) == 0
    assert "would run  8 of 20 images" in capsys.readouterr().out
    assert (
        main(["run", str(IMAGES), "--log", str(tmp_path / "x"), "--codec", "auto", "--split", "c006", "--dry-run"]) == 0
    )
    assert "calibrated on the images when the run starts" in capsys.readouterr().out


def test_a_dry_run_reports_what_the_run_would_refuse(capsys, tmp_path):
    options = ["run", str(IMAGES), "--log", str(tmp_path), "--split", "c006", "--run-id", "mine", "--limit"]
    assert main([*options, "5"]) == 0
    capsys.readouterr()
    assert main([*options, "5", "--codec", "int8", "--dry-run"]) == 2
    assert "codec fp16 (now int8)" in capsys.readouterr().err
    assert main([*options, "6", "--dry-run"]) == 2
    assert "was begun with 5 images, and IMAGES now has 6 images," in capsys.readouterr().err
    assert main([*options, "6", "--dry-run", "--overwrite"]) == 0
    assert "would delete  4 objects of this run" in capsys.readouterr().out
    before = files(tmp_path)
    adaptive = ["--split", "auto", "--tail", f"http://127.0.0.1:{free_port()}", "--earliest-cut", "conv9"]
    for more in ("--dry-run", "--overwrite"):
        assert main([*options, "5", *adaptive, more]) == 2
        assert "No cut named 'conv9' in digits" in capsys.readouterr().err
    assert files(tmp_path) == before


def test_a_dry_run_accepts_the_codec_that_the_run_calibrated(capsys, tmp_path):
    options = ["--log", tmp_path, "--split", "c006", "--codec", "auto", "--run-id", "mine", "--limit", 20]
    assert run(capsys, *options)["codec"] != "fp16"
    facts = run(capsys, *options, "--dry-run")
    assert (facts["shards"], facts["shards_present"], facts["images_left"]) == (1, 1, 0)
    assert main(["run", str(IMAGES), *map(str, options), "--split", "c005", "--dry-run"]) == 2
    assert "split c006 (now c005)" in capsys.readouterr().err


def test_the_images_are_hashed_once(capsys, tmp_path, monkeypatch):
    hashed = []
    run_id = RunIdentity.run_id

    def count(identity, images):
        hashed.append(images.num_rows)
        return run_id(identity, images)

    monkeypatch.setattr(RunIdentity, "run_id", count)
    run(capsys, "--log", tmp_path, "--split", "c006", "--limit", 5)
    assert hashed == [5]


def test_overwrite_on_s3(capsys, bucket):
    options = ["run", str(IMAGES), "--log", f"s3://{bucket}/log", "--split", "c006", "--limit", "5"]
    assert main(options) == 0
    assert main([*options, "--tail", "http://127.0.0.1:1", "--patience", "0", "--overwrite"]) == 1
    assert main(options) == 0
    assert "This run is complete" in capsys.readouterr().err
    assert main([*options, "--overwrite"]) == 0
    assert "This run is complete" not in capsys.readouterr().err


def test_overwrite_repeats_a_run_and_deletes_only_its_own_objects(capsys, tmp_path, monkeypatch):
    options = ["--log", tmp_path, "--split", "c006", "--limit", 20, "--run-id", "mine"]
    run(capsys, *options)
    folder = tmp_path / "run=mine"
    assert main(["evaluate", str(folder)]) == 0
    capsys.readouterr()
    for name in ("notes.txt", "_report/notes.csv"):
        stranger = folder / name
        stranger.write_text("kept")
        before = files(tmp_path)
        assert main(["run", str(IMAGES), *map(str, options), "--overwrite"]) == 2
        assert f"contains {name!r}, which is not part of a run" in capsys.readouterr().err
        assert files(tmp_path) == before
        stranger.unlink()
    absent = ["--tail", f"http://127.0.0.1:{free_port()}", "--patience", "0"]
    before = files(tmp_path)
    assert main(["run", str(IMAGES), *map(str, options), "--overwrite", *absent]) == 1
    assert files(tmp_path) == before, "the run is kept while the tail is absent"
    again = run(capsys, *options, "--overwrite", "--codec", "int8")  # other settings under the same id
    assert again["codec"] == "int8"
    assert not list(folder.glob("_report/*"))
    assert len(read_records(tmp_path)) == 20


def test_no_other_run_takes_over_the_parts_that_an_interrupted_deletion_left(capsys, tmp_path):
    options = ["run", str(IMAGES), "--split", "c006", "--limit", "6", "--shard-size", "2", "--run-id", "mine", "--log"]
    assert main([*options, str(tmp_path / "whole")]) == 0
    names = find_existing(run_folder(open_storage(str(tmp_path / "whole")), "mine"))
    assert len(names) == 6
    for deleted in range(1, len(names)):
        log = tmp_path / str(deleted)
        shutil.copytree(tmp_path / "whole", log)
        for name in names[:deleted]:
            (log / "run=mine" / name).unlink()
        assert main([*options, str(log), "--codec", "int8"]) == 2
        assert "codec fp16 (now int8)" in capsys.readouterr().err
        assert main([*options, str(log), "--codec", "int8", "--overwrite"]) == 0
        assert {record["codec"] for record in read_records(log)} == {"int8"}


def test_the_settings_are_deleted_after_all_other_objects():
    calls = []
    storage = SimpleNamespace(remove=lambda *names: calls.append(names))
    remove_run(RunFolder(storage), ("_SUCCESS", "part-00000.parquet", "_run.json"))
    assert calls == [("_SUCCESS", "part-00000.parquet"), ("_run.json",)]


@pytest.mark.parametrize(("answer", "code"), [("n", 1), ("y", 0)])
def test_overwrite_asks_on_a_terminal(capsys, tmp_path, monkeypatch, answer, code):
    options = ["--log", tmp_path, "--split", "c006", "--limit", 5]
    run(capsys, *options)
    before = files(tmp_path)
    terminal = io.StringIO(f"{answer}\n")
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stdin", terminal)
    assert main(["run", str(IMAGES), *map(str, options), "--overwrite"]) == code
    assert "Delete the 4 objects of" in capsys.readouterr().err
    assert (files(tmp_path) == before) == (answer == "n")
    monkeypatch.setattr(sys, "stdin", None)  # closed, as in a daemon
    assert main(["run", str(IMAGES), *map(str, options), "--overwrite"]) == 0


def test_ctrl_c_ends_the_wait_for_an_absent_tail(tmp_path):
    tail = f"http://127.0.0.1:{free_port()}"
    command = [*COMMAND, "run", str(IMAGES), "--model", "digits", "--split", "c006", "--tail", tail]
    command += ["--log", str(tmp_path)]
    waiting = subprocess.Popen([*command, "--patience", "9999"], stderr=subprocess.PIPE, text=True)
    note = waiting.stderr.readline()
    assert f"No answer from {tail}" in note
    assert "s more" in note
    waiting.send_signal(signal.SIGINT)
    _, error = waiting.communicate(timeout=HANG_S)
    assert waiting.returncode == 130
    assert "Interrupted" in error


SECOND_INTERRUPT = """
import signal
from hybrid_batch.inference.commands.run.interrupts import interruptible

try:
    with interruptible():
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            signal.raise_signal(signal.SIGINT)
            print("waited", flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
with interruptible():
    for _ in range(3):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            print("again", flush=True)
print("not reached")
"""


def test_a_second_interrupt_does_not_end_the_wait_for_running_computations():
    """It would abort the process: a thread would be inside a C++ library when the interpreter exits. The third ends the
    process, so another one runs this."""
    done = subprocess.run(
        [sys.executable, "-c", SECOND_INTERRUPT], capture_output=True, text=True, timeout=HANG_S, check=False
    )
    assert (done.stdout.split(), done.returncode) == (["waited", "interrupted", "again"], 130)


def test_quiet_prints_only_the_result_and_verbose_a_line_for_each_batch(capsys, tmp_path):
    options = [str(IMAGES), "--log", str(tmp_path), "--limit", "20", "--batch-size", "8"]
    assert main(["run", *options, "-q"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "images" in printed.out
    assert main(["run", *options, "-v", "--overwrite"]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("shard ")]
    assert len(lines) == 3
    assert lines[0].startswith("shard 0, batch 0: 8 images, cut c010, codec fp16, tail local; ")
    assert lines[0].endswith("0 bytes sent, 0 bytes received; 0 errors")


def test_a_split_run_without_a_tail_names_the_commands_that_put_it_elsewhere(capsys, tmp_path):
    assert main(["run", str(IMAGES), "--log", str(tmp_path), "--limit", "5", "--model", "digits"]) == 0
    printed = capsys.readouterr()
    first = printed.err.splitlines()[0]
    assert "`hybrid-batch serve digits --port 8000`" in first
    assert "`run --tail http://HOST:8000`" in first
    assert "`hybrid-batch cloud deploy digits`" in first
    assert "`run --tail lambda:hybrid-batch-digits`" in first
    assert "20 Mbit/s" in printed.out
    assert main(["run", str(IMAGES), "--log", str(tmp_path), "--limit", "5", "--split", "local"]) == 0
    assert "serve" not in capsys.readouterr().err


def test_a_run_without_a_model_names_the_sample_model(capsys, tmp_path):
    said = "No --model: using the sample model digits, which classifies images of handwritten digits."
    options = ["run", str(IMAGES), "--log", str(tmp_path), "--limit", "5"]
    assert main(options) == 0
    printed = capsys.readouterr()
    assert printed.err.splitlines()[0] == said
    assert re.search("^model +digits ", printed.out, re.MULTILINE)
    assert main([*options, "--model", "digits"]) == 0
    assert said not in capsys.readouterr().err


def test_several_paths_and_a_pattern_are_images_and_skipped_files_are_counted(capsys, tmp_path):
    images = tmp_path / "images"
    shutil.copytree(IMAGES / "3", images / "3")
    shutil.copytree(IMAGES / "4", images / "4")
    for name in (".hidden.png", "notes.txt", "more.txt"):
        (images / "3" / name).write_bytes(b"")
    threes, fours = (len(list((images / name).glob("[0-9]*"))) for name in "34")
    options = ["--log", str(tmp_path / "log"), "--split", "c006", "--json"]
    for arguments, count in (
        ([images / "3", images / "4"], threes + fours),
        ([images / "3", *sorted((images / "4").iterdir())[:2]], threes + 2),
        ([f"{images}/[4]/*.png"], fours),
    ):
        assert main(["run", *map(str, arguments), *options]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert (facts["images"], facts["labelled"], facts["errors"]) == (count, count, 0)
    assert main(["run", str(images), *options[:-1]]) == 0
    assert re.search(
        "^skipped +1 hidden file, 2 files of another kind [(][.]txt 2[)]$", capsys.readouterr().out, re.MULTILINE
    )


def test_the_summary_counts_the_reasons_of_errors(capsys, tmp_path):
    images = tmp_path / "images"
    shutil.copytree(IMAGES / "3", images / "3")
    for name, content in (("a.png", b"x"), ("b.png", b"x"), ("c.png", b"")):
        (images / "3" / name).write_bytes(content)
    assert main(["run", str(images), "--log", str(tmp_path / "log")]) == 0
    assert "errors       3: 2 x no known image format · 1 x the file is empty" in capsys.readouterr().out


def test_a_run_over_other_images_names_the_run_with_the_same_settings(capsys, tmp_path):
    options = ["run", str(IMAGES), "--log", str(tmp_path), "--split", "c006", "--limit"]
    assert main([*options, "5"]) == 0
    assert "the same settings" not in capsys.readouterr().err
    assert main([*options, "6"]) == 0
    said = (
        "has the same settings and 5 images, but not the same images; this is another run, and all of its 6 images are"
    )
    assert said in capsys.readouterr().err
    assert main([*options, "6", "--overwrite"]) == 0
    assert "the same settings" not in capsys.readouterr().err
    assert main(["run", str(IMAGES / "3"), *options[2:], "7"]) == 0
    assert "the same settings" not in capsys.readouterr().err


def test_a_default_cut_has_another_identity_than_an_adaptive_run(capsys, tmp_path):
    options = ["run", str(IMAGES), "--log", str(tmp_path), "--json"]
    assert main(options) == 0
    default = json.loads(capsys.readouterr().out)["run"]
    assert main([*options, "--split", "c010"]) == 0
    assert json.loads(capsys.readouterr().out)["run"] == default
    assert main([*options, "--tail", "http://127.0.0.1:9"]) == 0
    assert json.loads(capsys.readouterr().out)["run"] != default


def test_a_shard_size_that_a_resumed_run_does_not_apply_is_named(capsys, tmp_path):
    options = ["run", str(IMAGES), "--log", str(tmp_path), "--split", "c006", "--limit", "20", "--shard-size"]
    assert main([*options, "8"]) == 0
    (part,) = tmp_path.glob("run=*/part-00000.parquet")
    part.unlink()
    capsys.readouterr()
    assert main([*options, "5"]) == 0
    assert "--shard-size 5 is not applied: the run was begun with 8." in capsys.readouterr().err


def test_the_log_of_an_adaptive_run_tells_that_its_tail_was_unreachable(capsys, tmp_path):
    tail = f"http://127.0.0.1:{free_port()}"
    options = ["run", str(IMAGES), "--log", str(tmp_path), "--limit", "20", "--tail", tail]
    assert main([*options, "--json"]) == 0
    (event,) = json.loads(capsys.readouterr().out)["events"]
    assert re.match(rf"\d\d:\d\d:\d\d UTC No answer from {tail} .* Running locally until the tail responds", event)
    assert main(options) == 0
    printed = capsys.readouterr().out
    assert f"event        {event[:30]}" in printed
    assert "the tail did not respond" in printed


def test_options_without_an_effect_on_a_local_run_are_named(capsys, tmp_path):
    options = ["run", str(IMAGES), "--log", str(tmp_path), "--limit", "5", "--split", "local", "--codec", "int8"]
    assert main([*options, "--tail", f"http://127.0.0.1:{free_port()}"]) == 0
    said = "Note: --split local runs the whole model on this machine; --tail and --codec are not used."
    assert said in capsys.readouterr().err.splitlines()
