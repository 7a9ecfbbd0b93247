"""`hybrid-batch run` on real images, with real servers."""

import json
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from hybrid_batch.cli import main
from hybrid_batch.inference.model.importing.resolve_model import resolve_model
from tests.conftest import COMMAND, HANG_S, ROOT, free_port
from tests.run_logs import read_records, without_times
from tests.scripted_server import ScriptedServer, reply
from tests.self_kill import self_kill

pytestmark = pytest.mark.slow

IMAGES = ROOT / "data" / "digits" / "images"


def run(capsys, *arguments: object) -> dict:
    code = main(["run", *map(str, arguments), "--json"])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return json.loads(printed.out)


def refused(capsys, *arguments: object) -> tuple[int, str]:
    code = main(["run", *map(str, arguments)])
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = [
        line for line in printed.err.splitlines() if not line.startswith(("Note", "Importing", "Head", "No --model"))
    ]
    assert len(lines) == 1, printed.err
    assert "Traceback" not in printed.err
    return code, lines[0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, tuple[str, float]]:
    """The prediction and confidence of each image from the uncut model."""
    log = tmp_path_factory.mktemp("whole")
    assert main(["run", str(IMAGES), "--split", "local", "--log", str(log), "--json"]) == 0
    return {record["image"]: (record["prediction"], record["confidence"]) for record in read_records(log)}


@pytest.mark.parametrize("split", ["auto", "stem_relu", "c006", "pool", "remote"])
@pytest.mark.parametrize("where", ["local", "remote"])
def test_a_split_run_predicts_the_same_as_the_whole_model(capsys, tmp_path, digits_server, whole, split, where):
    tail = digits_server.url if where == "remote" else "local"
    codec = [] if split == "remote" else ["--codec", "fp32"]
    totals = run(capsys, IMAGES, "--split", split, "--tail", tail, "--log", tmp_path, *codec)
    records = read_records(tmp_path)
    assert {record["image"]: (record["prediction"], record["confidence"]) for record in records} == whole
    assert totals["images"] == totals["labelled"] == 360
    assert totals["accuracy"] >= 0.98
    assert totals["sent_bytes"] == sum(record["sent_bytes"] for record in records)
    if (split, where) == ("auto", "remote"):  # the planner decides which images are sent
        assert {record["tail"] for record in records} <= {tail, "local"}
    else:
        assert totals["cut_bytes"] > 0
        assert (totals["sent_bytes"] > 0) == (totals["received_bytes"] > 0) == (where == "remote")
        assert {record["tail"] for record in records} == {tail}


@pytest.mark.parametrize("codec", ["fp16", "int8"])
def test_lossy_codecs_send_less_and_keep_accuracy(capsys, tmp_path, digits_server, codec):
    totals = run(capsys, IMAGES, "--split", "c006", "--codec", codec, "--tail", digits_server.url, "--log", tmp_path)
    raw = 360 * 4 * 4 * 32 * 4
    assert totals["sent_bytes"] < raw * (0.55 if codec == "fp16" else 0.4)
    assert totals["accuracy"] >= 0.98


def test_the_bytes_at_the_cut_are_those_that_a_network_carries(capsys, tmp_path, digits_server):
    options = [IMAGES, "--split", "c006", "--codec", "int8"]
    near = run(capsys, *options, "--log", tmp_path / "near")
    far = run(capsys, *options, "--log", tmp_path / "far", "--tail", digits_server.url)
    assert near["cut_bytes"] == far["cut_bytes"] == far["sent_bytes"]
    assert near["sent_bytes"] == near["received_bytes"] == 0


def test_a_local_run_sends_no_bytes(capsys, tmp_path, whole):
    totals = run(capsys, IMAGES, "--split", "local", "--log", tmp_path)
    assert totals["sent_bytes"] == totals["received_bytes"] == 0


def test_the_log_accounts_for_the_time(capsys, tmp_path, digits_server):
    run(capsys, IMAGES, "--tail", digits_server.url, "--log", tmp_path, "--split", "c006", "--batch-size", 360)
    stages = ("decode_us", "head_us", "encode_us", "link_us", "queue_us", "tail_us")
    for record in read_records(tmp_path):
        assert record["decode_us"] > 0
        assert record["tail_us"] > 0
        # An image waits for its whole batch at every stage but the first.
        assert record["latency_us"] >= 360 * sum(record[stage] for stage in stages[1:])


def test_broken_and_odd_files_become_records(capsys, tmp_path):
    images = tmp_path / "images"
    shutil.copytree(IMAGES / "3", images / "3")
    (images / "3" / "cut.png").write_bytes(next((IMAGES / "3").iterdir()).read_bytes()[:60])
    (images / "3" / "empty.png").write_bytes(b"")
    (images / "3" / "text.png").write_text("not an image")
    (images / "3" / "gone.png").symlink_to(tmp_path / "nowhere")
    (images / "3" / "notes.txt").write_text("not an image name")
    totals = run(capsys, images, "--log", tmp_path / "log")
    records = {record["image"]: record for record in read_records(tmp_path / "log")}
    broken = {"3/cut.png", "3/empty.png", "3/text.png", "3/gone.png"}
    assert {name for name, record in records.items() if record["error"]} == broken
    assert all(records[name]["prediction"] is None for name in broken)
    assert totals["errors"] == 4
    assert totals["images"] == len(records) == len(list((IMAGES / "3").iterdir())) + 4
    remote = run(capsys, images, "--log", tmp_path / "remote", "--split", "remote")
    assert remote["errors"] == 4


def test_images_and_boundaries_too_large_for_one_frame(capsys, tmp_path, serve, monkeypatch):
    """Bytes above the server's limit are sent in several frames; an image above the limit is an error of its own."""
    server = serve("digits", "--max-request-mb", "1")
    images = tmp_path / "images"
    shutil.copytree(IMAGES / "3", images / "3")
    first = sorted((images / "3").iterdir())[0]
    for number in range(3):
        (images / "3" / f"large-{number}.png").write_bytes(first.read_bytes() + bytes(400_000))
    (images / "3" / "largest.png").write_bytes(first.read_bytes() + bytes(900_000))
    monkeypatch.setattr("hybrid_batch.inference.runner.routing.FILES_BYTES", 900_000)
    monkeypatch.setattr("hybrid_batch.inference.runner.image_loader.UPLOAD_LIMIT_BYTES", 800_000)
    totals = run(capsys, images, "--log", tmp_path / "log", "--split", "remote", "--tail", server.url)
    assert (totals["images"], totals["errors"]) == (len(list((images / "3").iterdir())), 1)
    monkeypatch.setattr("hybrid_batch.inference.runner.routing.BOUNDARY_BYTES", 100_000)
    arguments = ["--split", "stem_relu", "--codec", "fp32", "--batch-size", "1024", "--tail", server.url]
    assert run(capsys, IMAGES, "--log", tmp_path / "other", *arguments)["errors"] == 0
    assert {record["batch"] for record in read_records(tmp_path / "other")} == {32, 360 % 32}


def test_a_folder_with_only_broken_images_is_a_run(capsys, tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "images" / name).write_bytes(b"broken")
    for split in ("local", "auto", "remote"):
        totals = run(capsys, tmp_path / "images", "--log", tmp_path / split, "--split", split)
        assert (totals["images"], totals["errors"], totals["accuracy"]) == (2, 2, None)


def test_labels_come_from_a_file(capsys, tmp_path):
    names = sorted(str(path.relative_to(IMAGES)) for path in IMAGES.rglob("*.png"))
    labels = tmp_path / "labels.csv"
    labels.write_text("image,label\n" + "".join(f"{name},7\n" for name in names[:100]))
    totals = run(capsys, IMAGES, "--labels", labels, "--log", tmp_path / "log")
    assert totals["labelled"] == 100
    unlabelled = run(capsys, IMAGES, "--labels", "none", "--log", tmp_path / "other")
    assert unlabelled["accuracy"] is None


def test_the_same_command_again_finds_its_run_complete(capsys, tmp_path):
    first = run(capsys, IMAGES, "--log", tmp_path)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert run(capsys, IMAGES, "--log", tmp_path) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == written


def test_a_run_resumes_with_another_tail(capsys, tmp_path, digits_server):
    options = [IMAGES, "--log", tmp_path, "--split", "c010"]
    first = run(capsys, *options, "--shard-size", 100)
    (folder,) = tmp_path.iterdir()
    before = without_times(read_records(tmp_path))
    (folder / "_SUCCESS").unlink()
    (folder / "part-00002.parquet").unlink()
    kept = (folder / "part-00001.parquet").stat().st_mtime_ns
    again = run(capsys, *options, "--shard-size", 7, "--tail", digits_server.url)
    assert (folder / "part-00001.parquet").stat().st_mtime_ns == kept
    after = without_times(read_records(tmp_path))
    assert [record["image"] for record in after] == [record["image"] for record in before]
    assert [record["prediction"] for record in after] == [record["prediction"] for record in before]
    assert again["correct"] == first["correct"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["no/such/folder"], 2, "No folder 'no/such/folder'"),
        ([IMAGES, "--split", "blok_1_add"], 2, "did you mean 'block_1_add'"),
        ([IMAGES, "--model", "no-such-model"], 2, "No model at no-such-model"),
        ([IMAGES, "--model", ROOT / "README.md"], 2, "is not a model"),
        ([IMAGES, "--labels", "no.csv"], 2, "No labels file 'no.csv'"),
        ([IMAGES, "--tail", "ftp://x"], 2, "No tail at 'ftp://x'"),
        ([IMAGES, "--log", "gs://bucket"], 2, "gs://bucket"),
    ],
)
def test_wrong_usage_prints_one_sentence(capsys, tmp_path, monkeypatch, arguments, code, words):
    monkeypatch.chdir(tmp_path)
    assert refused(capsys, *arguments)[0] == code
    assert words in refused(capsys, *arguments)[1]
    assert not list(tmp_path.rglob("part-*"))


def test_empty_folders_and_folders_with_other_files_are_refused(capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    assert refused(capsys, tmp_path / "empty")[0] == 2
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("x")
    code, line = refused(capsys, tmp_path / "texts")
    assert code == 2
    assert "only 1 file of another kind (.txt 1)" in line


def test_labels_that_are_not_classes_are_reported(capsys, tmp_path):
    shutil.copytree(IMAGES / "3", tmp_path / "3")
    shutil.copytree(IMAGES / "4", tmp_path / "four")
    code, line = refused(capsys, tmp_path, "--log", tmp_path / "log")
    assert code == 2
    assert "'four'" in line
    labels = tmp_path / "labels.csv"
    labels.write_text("image,label\n3/none.png,3\n")
    code, line = refused(capsys, tmp_path, "--labels", labels)
    assert code == 2
    assert "names an image that does not exist" in line


def test_a_part_removed_from_a_complete_run_is_written_again(capsys, tmp_path):
    first = run(capsys, IMAGES, "--log", tmp_path, "--shard-size", 50)
    (part,) = tmp_path.glob("run=*/part-00003.parquet")
    part.unlink()
    assert main(["evaluate", str(tmp_path), "--no-files"]) == 0
    assert "50 of its 360 images" in capsys.readouterr().err
    again = run(capsys, IMAGES, "--log", tmp_path)
    assert again["correct"] == first["correct"]
    assert again["stages_us"] != first["stages_us"]
    assert run(capsys, IMAGES, "--log", tmp_path) == again
    assert part.is_file()
    part.with_name("part-00099.parquet").write_bytes(part.read_bytes())
    assert main(["evaluate", str(tmp_path), "--no-files"]) == 0
    assert "part-00099.parquet, which is not one of its parts" in capsys.readouterr().err


def test_a_log_inside_the_image_folder_is_not_an_image(capsys, tmp_path, monkeypatch):
    shutil.copytree(IMAGES / "3", tmp_path / "3")
    monkeypatch.chdir(tmp_path)
    first = run(capsys, ".")
    again = run(capsys, ".")
    assert (again["run"], again["images"], again["errors"]) == (first["run"], first["images"], 0)


@pytest.mark.parametrize("arguments", [["--run-id", "../evil"], ["--run-id", "a/b"], ["--run-id", "."], ["--log", ""]])
def test_run_ids_and_logs_outside_the_log_folder_are_refused(capsys, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    assert refused(capsys, IMAGES, *arguments)[0] == 2
    assert not list(tmp_path.rglob("run=*"))


def test_a_run_with_other_settings_is_unchanged(capsys, tmp_path):
    run(capsys, IMAGES, "--log", tmp_path, "--run-id", "mine")
    code, line = refused(capsys, IMAGES, "--log", tmp_path, "--run-id", "mine", "--codec", "int8")
    assert code == 2
    assert "codec fp16 (now int8)" in line


def test_an_unreachable_tail(capsys, tmp_path):
    absent = ["--tail", f"http://127.0.0.1:{free_port()}", "--patience", "0"]
    code, line = refused(capsys, IMAGES, "--split", "c004", *absent, "--log", tmp_path)
    assert code == 1
    assert "No answer from http://127.0.0.1" in line
    assert not list(tmp_path.iterdir())


def test_a_tail_with_another_bundle(capsys, tmp_path, digits_server):
    bundle = tmp_path / "digits.bundle"
    again = ["import", str(ROOT / "data/digits/digits.keras"), "-o", str(bundle), "--scale", "0-255"]
    assert main(again) == 0
    capsys.readouterr()
    code, line = refused(capsys, IMAGES, "--model", bundle, "--tail", digits_server.url, "--log", tmp_path / "log")
    assert code == 1
    assert "serve the same bundle" in line
    assert not (tmp_path / "log").exists()


DYING = """
import os, signal, sys
from hybrid_batch.inference.model.importing.resolve_model import resolve_model
from hybrid_batch.inference.serving.http.async_handler import ServerSettings
from hybrid_batch.inference.serving.http.launch import serve
from hybrid_batch.inference.serving.executor import TailExecutor
left, run = int(sys.argv[2]), TailExecutor.run
def run_or_die(worker, cut, tensors, **options):
    global left
    left -= len(tensors[0])
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return run(worker, cut, tensors, **options)
TailExecutor.run = run_or_die
serve(ServerSettings(resolve_model("digits")), "127.0.0.1", int(sys.argv[1]), 1, lambda url: print(url, flush=True))
"""


def test_a_tail_that_dies_ends_a_run_with_a_fixed_split_and_loses_no_record(capsys, tmp_path):
    port = free_port()
    url, command = f"http://127.0.0.1:{port}", [sys.executable, "-c", DYING, str(port), "100"]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert server.stdout.readline() == f"{url}\n"
    command = [*COMMAND, "run", str(IMAGES), "--tail", url, "--log", str(tmp_path), "--shard-size", "8"]
    command += ["--batch-size", "1", "--split", "c006", "--patience", "0", "--model", "digits"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=HANG_S)
    server.communicate()
    assert (server.returncode, done.returncode) == (-signal.SIGKILL, 1)
    assert f"No answer from {url}" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.glob("run=*/part-*"))
    totals = run(capsys, IMAGES, "--log", tmp_path, "--split", "c006")
    assert totals["images"] == 360
    assert len({record["image"] for record in read_records(tmp_path)}) == 360


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_cleanly(capsys, tmp_path, number):
    options = ["run", str(IMAGES), "--log", str(tmp_path), "--shard-size", "4", "--batch-size", "1"]
    command = [*self_kill(2, 0, number), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S, check=False)
    assert done.returncode == 130
    assert done.stdout == ""
    assert "same command" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("run=*/_SUCCESS"))
    assert run(capsys, IMAGES, "--log", tmp_path)["images"] == 360


def test_an_interrupt_is_reported_even_if_the_log_is_unreadable(tmp_path):
    metadata = json.dumps({"parameters": {"sha256": resolve_model("digits").sha256}}).encode()
    silent = threading.Event()
    server = ScriptedServer(reply(200, metadata), reply(200, b"{}"), lambda _: silent.wait(HANG_S) and b"")
    command = [*COMMAND, "run", str(IMAGES), "--log", str(tmp_path / "log"), "--split", "c006", "--tail", server.url]
    runner = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while len(server.paths) < 3:
        assert runner.poll() is None
        time.sleep(0.01)
    (folder,) = (tmp_path / "log").iterdir()
    folder.rename(tmp_path / "away")
    folder.symlink_to(folder)
    runner.send_signal(signal.SIGINT)
    _, error = runner.communicate(timeout=HANG_S)
    silent.set()
    server.shutdown()
    server.server_close()
    assert runner.returncode == 130
    said = f"Interrupted; all finished shards are committed in {folder}, and the same command continues the run.\n"
    assert error.endswith(said)


def test_a_run_restores_the_signal_handlers(capsys, tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    refused(capsys, tmp_path / "none")
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_full_disk_leaves_no_half_written_shard(tmp_path):
    """`ulimit -f` imitates the full disk: the system rejects the bytes of a real write."""
    command = " ".join([*COMMAND, "run", str(IMAGES), "--log", str(tmp_path), "--split", "local", "--model", "digits"])
    done = subprocess.run(
        ["/bin/bash", "-c", f"trap '' XFSZ; ulimit -f 12; exec {command}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "Cannot write" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.glob("run=*/part-*"))
    assert not list(tmp_path.glob("run=*/.tmp*"))


def test_a_log_that_cannot_be_written(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    code, line = refused(capsys, IMAGES, "--log", tmp_path / "file")
    assert code == 1
    assert "a file has the name of a needed folder" in line


def test_secrets_in_an_address_are_not_logged(capsys, tmp_path, digits_server):
    address = digits_server.url.replace("http://", "http://user:secret@")
    run(capsys, IMAGES, "--tail", address, "--log", tmp_path, "--split", "c006")
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert b"secret" not in path.read_bytes()
    assert {record["tail"] for record in read_records(tmp_path)} == {digits_server.url}
