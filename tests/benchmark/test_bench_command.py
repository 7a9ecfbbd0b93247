"""`hybrid-batch bench tails` as a whole: small real runs, their output, and the processes they leave."""

import json
import os
import shutil
import signal
import subprocess
import time
import uuid
from contextlib import suppress

import boto3
import psutil
import pytest

from hybrid_batch.cli import main
from tests.conftest import COMMAND, HANG_S, ROOT, free_port
from tests.factories.functions import make_function

pytestmark = pytest.mark.slow

IMAGES = str(ROOT / "data" / "digits" / "images")
SMALL = ("--requests", "8", "--seconds", "0.3", "--rounds", "1", "--yes")
TAIL = {
    "tail", "cut", "name", "codec", "cold_includes", "cold_ms", "warm", "local_ms", "overhead_ms", "compute_ms",
    "sent_bytes", "received_bytes", "cost", "agreement", "requests",
}  # fmt: skip
LEVEL = {
    "users", "cut", "codec", "rate", "latency", "answered", "errors", "refused", "waited_s", "cpu_ms",
    "client_cpu_ms", "memory_bytes", "sent_bytes", "received_bytes",
}  # fmt: skip


def bench(*arguments):
    return main(["bench", "tails", "digits", IMAGES, *SMALL, *arguments])


def measured(capsys, *arguments):
    assert bench(*arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def children():
    """Fails if the test leaves child processes."""
    before = set(psutil.Process().children(recursive=True))
    yield
    assert set(psutil.Process().children(recursive=True)) <= before


def test_tails_cuts_and_users_are_measured(capsys, tmp_path, children):
    found = measured(
        capsys, "--cut", "c000", "--cut", "c010", "--users", "1,5", "--max-pending", "2", "-o", str(tmp_path / "new")
    )
    assert found["model"] == "digits"
    assert [(row["tail"], row["cut"], row["codec"], row["cold_includes"]) for row in found["tails"]] == [
        ("local", "c000", "image", "compile"),
        ("local", "c010", "fp16", "compile"),
        ("serve", "c000", "image", "process"),
        ("serve", "c010", "fp16", "process"),
    ]
    for row in found["tails"]:
        assert row.keys() == TAIL
        assert (row["requests"], row["agreement"]) == (8, 1.0)
        assert 0 < row["warm"]["p50"] <= row["warm"]["p95"] <= row["warm"]["p99"]
        assert 0 < row["compute_ms"] < row["cold_ms"]
        assert (row["cost"] == 0) == (row["tail"] == "local")
    assert [(row["users"], row["cut"]) for row in found["users"]] == [
        (1, "c000"),
        (1, "c010"),
        (5, "c000"),
        (5, "c010"),
    ]
    for row in found["users"]:
        assert row.keys() == LEVEL
        assert row["answered"] >= row["users"]
        assert row["rate"] > 0 < row["memory_bytes"]
        assert row["errors"] == {}
    assert [row["refused"] for row in found["users"][:2]] == [0, 0]
    overload = found["overload"]
    assert (overload["users"], overload["max_pending"], overload["baseline_users"]) == (8, 2, 2)
    assert overload["answered"] > overload["users"]
    assert overload["errors"] == 0
    assert overload["waited_s"] >= overload["refused"]  # refusals are chance here and tested in test_users
    assert overload["before"] > 0 < overload["after"]
    assert json.loads((tmp_path / "new" / "tails.json").read_text()) == found
    assert (tmp_path / "new" / "tails.png").read_bytes().startswith(b"\x89PNG")


def test_tables_and_their_explanation_are_printed(capsys, tmp_path):
    plot = tmp_path / "tails.svg"
    assert bench("--tail", "local", "--cut", "c015", "--users", "3", "--plot", str(plot)) == 0
    printed = capsys.readouterr()
    assert "compile, compiling the tail in this process" in printed.out
    assert "images/s before and" in printed.out
    assert printed.err == ""
    assert plot.read_text().lstrip().startswith("<?xml")


def test_without_users_no_server_is_started(capsys, children):
    found = measured(capsys, "--tail", "local", "--users", "none")
    assert (found["users"], found["overload"]) == ([], None)
    assert [row["cut"] for row in found["tails"]] == ["c000", "c010", "c015", "c017"]


def test_a_running_server_is_measured(capsys, digits_server):
    found = measured(capsys, "--tail", digits_server.url, "--cut", "c010", "--users", "none")
    (row,) = found["tails"]
    assert (row["tail"], row["cold_includes"], row["agreement"]) == (digits_server.url, "connection", 1.0)
    assert row["sent_bytes"] > row["received_bytes"] > 0


def test_the_log_of_lambda_decides_on_a_cold_start(capsys, aws):
    function = make_function()
    found = measured(capsys, "--tail", f"lambda:{function}", "--cut", "c000", "--cut", "c010", "--users", "none")
    assert [row["tail"] for row in found["tails"]] == [f"lambda:{function}"] * 2
    for row in found["tails"]:
        assert row["cold_includes"] in ("start", "running", "unknown")
        assert row["agreement"] == 1.0
        assert row["overhead_ms"] > 0
        assert row["cost"] > 1000 * 0.20 / 1e6


def test_a_queue_is_measured_and_its_reply_queues_deleted(capsys, aws):
    client, name = boto3.client("sqs"), f"work-{uuid.uuid4().hex[:8]}"
    client.create_queue(QueueName=name)
    worker = subprocess.Popen([*COMMAND, "worker", "digits", "--queue", name], stderr=subprocess.DEVNULL)
    try:
        (row,) = measured(capsys, "--tail", f"sqs:{name}", "--cut", "c010", "--users", "none")["tails"]
    finally:
        worker.terminate()
        worker.wait(HANG_S)
    assert (row["cold_includes"], row["agreement"]) == ("connection", 1.0)
    assert row["cost"] > 6000 * 0.40 / 1e6
    assert not client.list_queues(QueueNamePrefix=f"{name}-replies").get("QueueUrls")


def test_a_dry_run_prints_the_cost_of_paid_tails_and_sends_nothing(capsys):
    tails = ("--tail", "lambda:nowhere", "--tail", "s3-trigger:s3://nowhere/x", "--tail", "local")
    options = ("--cut", "c000", "--cut", "c010", "--requests", "99", "--rounds", "2", "--dry-run")
    assert bench(*tails, *options, "--json") == 0
    paid = json.loads(capsys.readouterr().out)["paid"]
    assert [(bill["tail"], bill["requests"]) for bill in paid] == [
        ("lambda:nowhere", 400),
        ("s3-trigger:s3://nowhere/x", 200),
    ]
    assert all(0 < bill["cost"] < 0.1 for bill in paid)
    assert bench("--dry-run") == 0
    assert "No requests to paid tails." in capsys.readouterr().out


def test_without_confirmation_nothing_is_sent_to_paid_tails(capsys):
    arguments = ["bench", "tails", "digits", IMAGES, "--tail", "lambda:nowhere", "--users", "none"]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert "lambda:nowhere: 2,412 requests, about 0.0" in said
    assert "--yes" in said


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--users", "0"), 2, "'0' is not a number from 1 to 500"),
        (("--users", "501"), 2, "'501' is not a number"),
        (("--users", "1,x"), 2, "'x' is not a number"),
        (("--users", ""), 2, "'' is not a number"),
        (("--cut", "conv99"), 2, "No cut named 'conv99'"),
        (("--tail", "ftp://x"), 2, "No tail at 'ftp://x'"),
        (("--tail", "s3-trigger:s3://b/x", "--cut", "c010"), 2, "add --cut c000"),
        (("--plot", "/no/such/folder/x.png"), 2, "Cannot draw to /no/such/folder/x.png"),
        (("--plot", "x.doc"), 2, "with the suffix .png, .svg or .pdf"),
        (("-o", "/dev/null/x"), 2, "Cannot write to /dev/null/x"),
        (("--prices", "/no/prices"), 2, "Cannot read the prices in /no/prices: No such file or directory"),
        (("--tail", f"http://127.0.0.1:{free_port()}", "--cut", "c010"), 1, "hybrid-batch serve"),
    ],
)
def test_bad_input_is_one_sentence(capsys, children, arguments, code, words):
    assert bench(*arguments) == code
    printed = capsys.readouterr()
    assert words in printed.err.splitlines()[-1]
    assert "Traceback" not in printed.err
    assert printed.out == ""


def test_folders_without_readable_images_are_errors(capsys, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main(["bench", "tails", "digits", str(empty)]) == 2
    assert "is empty" in capsys.readouterr().err
    (empty / "a.png").write_bytes(b"not an image")
    assert main(["bench", "tails", "digits", str(empty), "--users", "none"]) == 2
    assert "None of 1 sampled images" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -15), (signal.SIGKILL, -9)])
def test_no_process_is_left_however_the_command_ends(tmp_path, number, code):
    """Interrupted under load, with two servers and the process of the users running."""
    arguments = ["bench", "tails", "digits", IMAGES, "--tail", "local", "--users", "5", "--seconds", "300"]
    process = subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.PIPE, text=True, start_new_session=True)
    children = []
    try:
        children = await_users(process.pid, 5)
        os.kill(process.pid, number)
        _, said = process.communicate(timeout=HANG_S)
        _, alive = psutil.wait_procs(children, timeout=HANG_S)
    finally:
        for one in (process, *children):
            with suppress(psutil.NoSuchProcess):
                one.kill()
    assert process.returncode == code
    assert said.endswith("hybrid-batch: Interrupted.\n" if number == signal.SIGINT else "")
    assert "Traceback" not in said
    assert not alive


def await_users(pid, count):
    """The children of a process, once `count` users are connected."""
    end = time.monotonic() + HANG_S
    while time.monotonic() < end:
        children = psutil.Process(pid).children()
        users = [child for child in children if "hybrid_batch.inference.benchmark.load.client" in child.cmdline()]
        if users and len(users[0].net_connections()) == count:
            assert len(children) == 3
            return children
        time.sleep(0.1)
    raise AssertionError(f"{pid} never had {count} users")


def test_unreadable_images_are_left_out(capsys, tmp_path):
    shutil.copy(next((ROOT / "data/digits/images/3").iterdir()), tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"not an image")
    arguments = ["bench", "tails", "digits", str(tmp_path), *SMALL, "--tail", "local", "--users", "none", "--json"]
    assert main(arguments) == 0
    assert all(row["agreement"] == 1 for row in json.loads(capsys.readouterr().out)["tails"])
