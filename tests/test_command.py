"""The `hybrid-batch` command itself: laziness, messages, exit codes."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest

from hybrid_batch.cli import COMMANDS, cli, main
from hybrid_batch.inference.model import runtimes
from hybrid_batch.inference.protocol import codecs
from tests.conftest import COMMAND, ROOT
from tests.factories.records import random_records, write_run

HEAVY = (
    "tensorflow",
    "openvino",
    "pyspark",
    "mrjob",
    "boto3",
    "matplotlib",
    "numpy",
    "pyarrow",
    "rich",
    "httpx",
    "urllib3",
)


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["serve", "--help"], ["evaluate", "--help"]])
def test_help_imports_nothing_heavy(arguments):
    script = (
        "import sys; from hybrid_batch.cli import main; code = main(sys.argv[1:]);"
        f"print([name for name in {HEAVY} if name in sys.modules]); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("group", [[], ["cloud"], ["emr"], ["bench"]])
def test_commands_are_listed_with_whole_sentences(group, capsys):
    assert main([*group, "--help"]) == 0
    lines = capsys.readouterr().out.split("Commands:\n")[1].splitlines()
    assert lines
    assert all(line.endswith(".") and not line.endswith("...") for line in lines), lines


@pytest.mark.parametrize(
    "arguments",
    [
        ("import", "app:MobileNetV2", "-o"),
        ("cloud", "package", "digits", "--target", "lambda-zip", "-o"),
        ("emr", "package", "-o"),
        ("bench", "tails", "digits", "images", "-o"),
    ],
)
def test_local_outputs_reject_s3_urls(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, "s3://bucket/key"]) == 2
    said = capsys.readouterr().err
    assert said == "hybrid-batch: --output must be a local path, not s3://bucket/key.\n"
    assert not list(tmp_path.iterdir())


def test_running_on_a_bundle_never_imports_tensorflow(tmp_path):
    script = (
        "import sys; from hybrid_batch.cli import main; code = main(sys.argv[1:]);"
        "print('tensorflow' in sys.modules, code)"
    )
    arguments = ["run", str(ROOT / "data/digits/images"), "--log", str(tmp_path), "--json"]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False 0"


def test_help_lists_every_command(capsys):
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    for name in COMMANDS:
        assert f"  {name}" in printed


@pytest.mark.parametrize("command", ["run", "plan", "bench"])
def test_a_codec_added_to_the_table_is_accepted_by_every_command(command, monkeypatch):
    found = import_module(COMMANDS[command]).command
    found = found.commands["tails"] if command == "bench" else found
    (option,) = (one for one in found.params if one.name == "codec")
    with pytest.raises(click.BadParameter, match=r"'toy' is not one of .*'fp32', 'fp16', 'int8'"):
        option.type.convert("toy", option, None)
    monkeypatch.setitem(codecs.TENSOR_CODECS, "toy", "toy")
    assert option.type.convert("toy", option, None) == "toy"


@pytest.mark.parametrize("command", ["run", "plan", "cuts", "profile", "serve", "worker"])
def test_a_runtime_added_to_the_table_is_accepted_by_every_command(command, monkeypatch):
    (option,) = (one for one in import_module(COMMANDS[command]).command.params if one.name == "runtime")
    with pytest.raises(click.BadParameter, match=r"'toy' is not one of 'openvino', 'tensorflow'"):
        option.type.convert("toy", option, None)
    monkeypatch.setitem(runtimes.RUNTIMES, "toy", "toy")
    assert option.type.convert("toy", option, None) == "toy"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["rum"], "`hybrid-batch` has no command 'rum'; did you mean 'run'?"),
        (["cloud", "deplo"], "`hybrid-batch cloud` has no command 'deplo'; did you mean 'deploy'?"),
        (["emr", "zzz"], "`hybrid-batch emr` has no command 'zzz'; `hybrid-batch emr --help` lists the commands."),
        (["run", "--modle", "x"], "`hybrid-batch run` has no option '--modle'; did you mean '--model'?"),
        (["cuts", "--verfy"], "`hybrid-batch cuts` has no option '--verfy'; did you mean '--verify'?"),
        (
            ["cuts", "--zzz"],
            "`hybrid-batch cuts` has no option '--zzz'; `hybrid-batch cuts --help` describes the",
        ),
        (
            ["cuts", "--runtime", "tf"],
            "Invalid value for '--runtime': 'tf' is not one of 'openvino', 'tensorflow'; `hybrid-batch cuts --help` "
            "describes the arguments and options.",
        ),
        (["import", "x", "--size", "0"], "Invalid value for '--size': '0' is not an image size; write 224, 224x160"),
        (["cuts", "-v", "-q"], "-v and -q exclude each other; give one of them."),
        (["-q", "cuts", "-v"], "-v and -q exclude each other; give one of them."),
    ],
)
def test_every_usage_error_is_one_line_with_a_remedy(arguments, sentence, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"hybrid-batch: {sentence}")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("group", [[], ["cloud"], ["emr"], ["bench"]])
def test_every_command_accepts_verbose_and_quiet(group):
    commands = cli
    for name in group:
        commands = commands.get_command(click.Context(cli), name)
    for name in commands.list_commands(click.Context(commands)):
        options = {
            word for option in commands.get_command(click.Context(commands), name).params for word in option.opts
        }
        assert {"-v", "--verbose", "-q", "--quiet"} <= options, name


def test_quiet_prints_results_without_notes_and_verbose_prints_the_trace(capsys, tmp_path):
    images = str(ROOT / "data/digits/images/3")
    arguments = ["run", images, "--split", "local", "--tail", "http://127.0.0.1:9", "--log", str(tmp_path)]
    assert main(arguments) == 0
    assert "Note: " in capsys.readouterr().err
    for quiet in ([*arguments, "-q"], ["-q", *arguments]):
        assert main(quiet) == 0
        captured = capsys.readouterr()
        assert captured.err == ""
        assert "images" in captured.out
    assert main(["cuts", "gone.bundle", "-q"]) == 2
    assert capsys.readouterr().err.startswith("hybrid-batch: No model at gone.bundle")
    assert main(["cuts", "gone.bundle", "-v"]) == 2
    trace, _, last = capsys.readouterr().err.rstrip().rpartition("\n")
    assert trace.startswith("Traceback")
    assert last.startswith("hybrid-batch: No model at gone.bundle")


def write_settings(folder, monkeypatch, text):
    """Write the user's configuration file."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "settings"))
    path = folder / "settings" / "hybrid-batch" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text(text)


def test_the_environment_overrides_the_file_and_the_command_line_overrides_both(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_settings(tmp_path, monkeypatch, '[run]\nsplit = "local"\nlog = "from-file"\nbatch-size = 9\n')
    images = str(ROOT / "data/digits/images")

    def cut_and_log(*arguments: str) -> tuple[str, str]:
        assert main(["run", images, "--json", *arguments]) == 0
        found = json.loads(capsys.readouterr().out)
        return found["cut"], found["run"].partition("/")[0]

    assert cut_and_log() == ("local", "from-file")
    monkeypatch.setenv("HYBRID_BATCH_RUN_LOG", "from-environment")
    assert cut_and_log() == ("local", "from-environment")
    assert cut_and_log("--log", "from-line", "--split", "c003") == ("c003", "from-line")


def test_output_of_a_pipe_has_no_escape_codes(tmp_path):
    done = subprocess.run(
        [*COMMAND, "run", str(ROOT / "data/digits/images"), "--log", str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"TERM": "xterm-256color"},
    )
    assert "\x1b" not in done.stdout + done.stderr
    assert "━" not in done.stderr, "a progress bar"


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("log") / "run=x"
    write_run(str(folder), random_records(40, ["cat", "dog"]), 40)
    return str(folder)


def environment_with(buffering: str) -> dict[str, str]:
    """This process's environment, where Python buffers its output or not, as by default in containers."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return environment | ({"PYTHONUNBUFFERED": "1"} if buffering == "unbuffered" else {})


@pytest.mark.parametrize("buffering", ["buffered", "unbuffered"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("cuts", "--json"),
        ("evaluate", "RUN"),
        ("report", "RUN"),
        ("compare", "RUN", "RUN"),
        ("plan", "--json"),
        ("--help",),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_full_disk_behind_the_output_gets_one_sentence(arguments, buffering, run_folder):
    words = [run_folder if word == "RUN" else word for word in arguments]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=environment_with(buffering),
        )
    assert done.returncode == 1
    *progress, message = done.stderr.splitlines()
    assert message == "hybrid-batch: The disk is full; nothing more can be written."
    assert arguments[0] == "plan" or not progress  # `plan` reports that it measures


@pytest.mark.parametrize("buffering", ["buffered", "unbuffered"])
def test_a_full_disk_behind_output_and_messages_gets_the_same_code(buffering):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, "cuts"], stdout=full, stderr=full, check=False, env=environment_with(buffering)
        )
    assert done.returncode == 1


@pytest.fixture
def closed_pipe() -> Iterator[int]:
    """The write end of a pipe without a reader, as behind `| head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.mark.parametrize("buffering", ["buffered", "unbuffered"])
@pytest.mark.parametrize("arguments", [("cuts",), ("evaluate", "RUN"), ("--help",)], ids=lambda arguments: arguments[0])
def test_a_closed_pipe_behind_the_output_ends_the_command_without_a_message(
    arguments, buffering, closed_pipe, run_folder
):
    words = [run_folder if word == "RUN" else word for word in arguments]
    done = subprocess.run(
        [*COMMAND, *words],
        stdout=closed_pipe,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env=environment_with(buffering),
    )
    assert (done.returncode, done.stderr) == (141, "")  # as of a program that SIGPIPE ends


@pytest.mark.parametrize("output", ["full disk", "closed pipe"])
def test_output_that_a_command_left_in_the_buffer_is_not_lost_in_silence(output, closed_pipe):
    script = (
        "import sys, types, click; from hybrid_batch import cli;"
        "command = click.Command('write', callback=lambda: sys.stdout.write('result'));"
        "sys.modules['writes'] = types.SimpleNamespace(command=command);"
        "cli.COMMANDS['write'] = 'writes';"
        "sys.exit(cli.main(['write']))"
    )
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", script],
            stdout=full if output == "full disk" else closed_pipe,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=environment_with("buffered"),
        )
    said = "hybrid-batch: The disk is full; nothing more can be written.\n" if output == "full disk" else ""
    assert (done.returncode, done.stderr) == (1 if said else 141, said)


def test_a_typed_verbosity_overrides_that_of_the_file(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_settings(tmp_path, monkeypatch, "[run]\nquiet = true\n")
    arguments = ["run", str(ROOT / "data/digits/images/3"), "--split", "c005"]
    assert main(arguments) == 0
    assert capsys.readouterr().err == ""
    assert main([*arguments, "--log", "second", "-v"]) == 0
    assert "The cut is the one that --split names." in capsys.readouterr().err
    assert main([*arguments, "-v", "-q"]) == 2
    assert "-v and -q exclude each other" in capsys.readouterr().err
