"""Completion in shells, by the protocol of click's scripts, and without heavy imports."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hybrid_batch.inference.model.importing.resolve_model import BUILT_IN_PATH
from hybrid_batch.inference.model.model_names import BUILT_IN
from tests.conftest import COMMAND
from tests.test_command import HEAVY

SCRIPT = (
    "import sys; from hybrid_batch.cli import main\n"
    "try:\n    main()\n"
    f"finally:\n    print([name for name in {(*HEAVY, 'keras')} if name in sys.modules], file=sys.stderr)"
)


def complete(*words: str, folder: Path, program: str = "bash") -> list[str]:
    """The completions of the last word."""
    line, position = " ".join(["hybrid-batch", *words]), str(len(words))
    settings = {"COMP_WORDS": line, "COMP_CWORD": words[-1] if program == "fish" else position}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | settings | {"_HYBRID_BATCH_COMPLETE": f"{program}_complete"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == "[]\n"
    return done.stdout.splitlines()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(BUILT_IN_PATH, tmp_path / "mine.bundle")
    (tmp_path / "images").mkdir()
    (tmp_path / "model.keras").touch()
    (tmp_path / "notes.txt").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("ev",), ["plain,evaluate"]),
        (("run", "--spl"), ["plain,--split"]),
        (("run", "--split", "c001"), ["plain,c001"]),
        (("run", "--split", "stem_b"), ["plain,stem_bn"]),
        (("run", "--model", "mine.bundle", "--split", "c017"), ["plain,c017"]),
        (("plan", "mine.bundle", "--earliest-cut", "c017"), ["plain,c017"]),
        (("run", "--model", "m"), ["plain,mine.bundle", "plain,model.keras"]),
        (("run", "--model", "./m"), ["plain,./mine.bundle", "plain,./model.keras"]),
        (("cuts", "dig"), ["plain,digits"]),
        (("cuts", "i"), ["plain,images/"]),
        (("run", "--model", "app:MobileNetV3"), ["plain,app:MobileNetV3Large", "plain,app:MobileNetV3Small"]),
        (("run", "--codec", "jp"), ["plain,jpeg90", "plain,jpeg75"]),
        (("cuts", "--runtime", "t"), ["plain,tensorflow"]),
        (("cloud", "de"), ["plain,deploy", "plain,destroy"]),
        (("evaluate", "hyb"), ["file,hyb"]),
    ],
    ids=" ".join,
)
def test_bash_completes(words: tuple[str, ...], expected: list[str], folder: Path) -> None:
    assert complete(*words, folder=folder) == expected


def test_a_model_without_a_bundle_has_no_cuts_and_no_message(folder: Path) -> None:
    (folder / "mine.bundle" / "bundle.json").write_text("{")
    assert complete("run", "--model", "mine.bundle", "--split", "c0", folder=folder) == ["file,c0"]
    assert complete("run", "--model", "mine.bundle", "--split", "a", folder=folder) == ["plain,auto"]


def test_zsh_and_fish_show_the_names_of_cuts(folder: Path) -> None:
    assert complete("run", "--split", "c001", folder=folder, program="zsh") == ["plain", "c001", "stem_conv"]
    assert complete("run", "--split", "c001", folder=folder, program="fish") == ["plain,c001\tstem_conv"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_printed(shell: str) -> None:
    done = subprocess.run([*COMMAND, "completion", shell], capture_output=True, text=True, check=True)
    assert f"_HYBRID_BATCH_COMPLETE={shell}_complete" in done.stdout
    assert ("COMP_WORDBREAKS" in done.stdout) == (shell == "bash")
    if program := shutil.which(shell):
        subprocess.run([program, "-n"], input=done.stdout, text=True, check=True)


def test_the_shell_is_that_of_the_user() -> None:
    environment = os.environ | {"SHELL": "/usr/bin/fish"}
    done = subprocess.run([*COMMAND, "completion"], capture_output=True, text=True, check=True, env=environment)
    assert "fish_complete" in done.stdout
    environment["SHELL"] = "/bin/tcsh"
    done = subprocess.run([*COMMAND, "completion"], capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (
        2,
        "hybrid-batch: Cannot complete in the shell 'tcsh'; give one of bash, zsh, fish.\n",
    )


def test_the_built_in_model_is_the_one_that_is_resolved() -> None:
    assert BUILT_IN_PATH.name == f"{BUILT_IN}.bundle"
