"""The `hybrid-batch` command itself: laziness, configuration, exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hybrid_batch.cli import COMMANDS, main
from tests.conftest import COMMAND, ROOT

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
def test_commands_are_told_in_whole_sentences(group, capsys):
    assert main([*group, "--help"]) == 0
    told = capsys.readouterr().out.split("Commands:\n")[1].splitlines()
    assert told
    assert all(line.endswith(".") and not line.endswith("...") for line in told), told


@pytest.mark.parametrize(
    "arguments",
    [
        ("report", "run=x", "--output"),
        ("import", "app:MobileNetV2", "-o"),
        ("cloud", "package", "digits", "--target", "lambda-zip", "-o"),
        ("emr", "package", "-o"),
        ("bench", "tails", "digits", "images", "-o"),
    ],
)
def test_what_is_written_here_is_not_written_to_a_folder_named_s3(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, "s3://bucket/key"]) == 2
    said = capsys.readouterr().err
    assert said == (
        "hybrid-batch: s3://bucket/key is no place on this machine, which --output must be; give a local path.\n"
    )
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


def test_an_unknown_command_or_option_is_wrong_usage(capsys):
    assert main(["nonsense"]) == 2
    assert main(["run", "--nonsense"]) == 2
    assert capsys.readouterr().out == ""


def test_options_come_from_the_file_the_environment_and_the_line_in_rising_order(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hybrid-batch.toml").write_text('[run]\nsplit = "local"\nlog = "from-file"\nbatch-size = 9\n')
    images = str(ROOT / "data/digits/images")

    def cut_and_log(*arguments: str) -> tuple[str, str]:
        assert main(["run", images, "--json", *arguments]) == 0
        found = json.loads(capsys.readouterr().out)
        return found["cut"], found["run"].partition("/")[0]

    assert cut_and_log() == ("local", "from-file")
    monkeypatch.setenv("HYBRID_BATCH_RUN_LOG", "from-environment")
    assert cut_and_log() == ("local", "from-environment")
    assert cut_and_log("--log", "from-line", "--split", "c003") == ("c003", "from-line")


def test_a_broken_configuration_file_is_told(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hybrid-batch.toml").write_text("[run\n")
    assert main(["cuts"]) == 2
    assert "hybrid-batch.toml is not valid TOML" in capsys.readouterr().err


def test_output_of_a_pipe_has_no_escape_codes(tmp_path):
    done = subprocess.run(
        [*COMMAND, "run", str(ROOT / "data/digits/images"), "--log", str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"TERM": "xterm-256color"},
    )
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [("[rum]\nx = 1\n", "'rum'"), ("run = 3\n", "'run'"), ("[run]\nbatchsize = 16\n", "'batchsize' for run")],
)
def test_unknown_words_in_the_configuration_are_told(tmp_path, capsys, monkeypatch, text, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hybrid-batch.toml").write_text(text)
    assert main(["cuts"]) == 2
    assert words in capsys.readouterr().err


def test_a_full_disk_behind_the_output_gets_one_sentence():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*COMMAND, "cuts", "--json"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert "The disk is full" in done.stderr
    assert "Traceback" not in done.stderr
