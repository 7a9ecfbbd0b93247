"""Completion in shells, by the protocol of click's scripts, and without heavy imports."""

import json
import os
import pty
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import CompletionItem, ShellComplete

from hybrid_batch.cli import cli
from hybrid_batch.completion import SHELLS
from hybrid_batch.inference.model.importing.resolve_model import BUILT_IN_PATH
from hybrid_batch.inference.model.model_names import BUILT_IN
from tests.conftest import COMMAND
from tests.test_command import HEAVY

SCRIPT = (
    "import sys; from hybrid_batch.cli import main\n"
    "try:\n    main()\n"
    f"finally:\n    print([name for name in {(*HEAVY, 'keras')} if name in sys.modules], file=sys.stderr)"
)

ENDLESS = """
from click.shell_completion import ShellComplete
from hybrid_batch import completion
from hybrid_batch.cli import cli
def search(*_):
    while True:
        pass
ShellComplete.get_completions = search
completion._TIME_LIMIT_S = 0.05
shell = completion.SHELLS["bash"](cli, {}, "hybrid-batch", "_HYBRID_BATCH_COMPLETE")
print(*[item.type for item in shell.get_completions([], "x")])
"""


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


CODE = {  # names that bash would run when Enter is pressed after TAB
    "c1;touch${IFS}canary;": "an id of a cut",
    "m$(touch canary).bundle": "a folder",
    "n`touch canary`.keras": "a file",
}


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder with a stranger's bundles, whose names and ids are code of a shell."""
    for name in CODE:
        (tmp_path / name).mkdir()
        (tmp_path / name / "bundle.json").write_text("{}")
    (tmp_path / "evil.bundle").mkdir()
    description = {"cuts": [{"id": name, "name": f"stem {name}"} for name in CODE]}
    (tmp_path / "evil.bundle" / "bundle.json").write_text(json.dumps(description))
    return tmp_path


@pytest.mark.parametrize("program", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(
    "words", [("run", "x", "--model", "evil.bundle", "--split", "c1"), ("cuts", "m"), ("cuts", "n"), ("cuts", "c")]
)
def test_code_in_names_is_not_offered(words: tuple[str, ...], program: str, hostile: Path) -> None:
    offered = complete(*words, folder=hostile, program=program)
    assert [line for line in offered if "canary" in line] == []
    assert "file" in offered[0]


def test_what_a_later_type_offers_passes_the_same_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """The words of every type are checked in one place, whatever the type has let through."""
    offered = [
        CompletionItem(word, help="a\nb") for word in (*CODE, "plain", "--option", "-x;id", "~root", "a b", "a\nb")
    ]
    monkeypatch.setattr(ShellComplete, "get_completions", lambda *_: offered)
    shell = SHELLS["bash"](cli, {}, "hybrid-batch", "_HYBRID_BATCH_COMPLETE")
    assert [(item.value, item.help) for item in shell.get_completions([], "")] == [("plain", None), ("--option", None)]


@pytest.mark.parametrize("error", [RecursionError(), MemoryError(), TimeoutError()])
def test_a_failed_search_offers_files(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> list[CompletionItem]:
        raise error

    monkeypatch.setattr(ShellComplete, "get_completions", fail)
    shell = SHELLS["bash"](cli, {}, "hybrid-batch", "_HYBRID_BATCH_COMPLETE")
    assert [(item.value, item.type) for item in shell.get_completions([], "x")] == [("x", "file")]


def test_a_search_has_a_time_limit() -> None:
    """In a process of its own: threads of libraries in this one may have no room for the frame of a signal."""
    printed = subprocess.run([sys.executable, "-c", ENDLESS], capture_output=True, text=True, timeout=60, check=True)
    assert printed.stdout.split() == ["file"]


@pytest.mark.parametrize("content", ["pipe", "device", "nested"])
def test_a_description_without_an_end_neither_hangs_nor_prints_a_trace(content: str, hostile: Path) -> None:
    description = hostile / "evil.bundle" / "bundle.json"
    description.unlink()
    if content == "pipe":
        os.mkfifo(description)
    elif content == "device":
        description.symlink_to("/dev/zero")
    else:
        description.write_text("[" * 200_000)
    words = ("run", "x", "--model", "./evil.bundle", "--split", "c")
    assert complete(*words, folder=hostile) == ["file,c"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize(
    "line",
    [
        "hybrid-batch cuts m",
        "hybrid-batch cuts n",
        "hybrid-batch run x --model evil.bundle --split c1",
        "hybrid-batch evaluate m",
    ],
)
def test_no_code_runs_in_bash_after_tab_and_enter(line: str, hostile: Path) -> None:
    """A real bash in a terminal: its own completion of files quotes what ours leaves out."""
    places = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    own = os.environ | {"PS1": "READY ", "TERM": "dumb", "PATH": places, "HYBRID_BATCH_CACHE": str(hostile / "cache")}
    master, slave = pty.openpty()
    start = ["sh", "-c", 'exec bash --norc --noprofile -i <>"$0" >&0 2>&0', os.ttyname(slave)]  # its own terminal
    with subprocess.Popen(start, cwd=hostile, env=own, start_new_session=True) as bash:
        seen = read_until(master, b"READY ")
        os.write(master, b'eval "$(hybrid-batch completion bash)"\n')
        seen += read_until(master, b"READY ")
        os.write(master, f"{line}\t".encode())
        os.write(master, b"\x05\necho FINI''SHED\n")
        seen += read_until(master, b"FINISHED")
        bash.kill()
    os.close(slave)
    os.close(master)
    assert not (hostile / "canary").exists(), seen


def read_until(descriptor: int, end: bytes) -> bytes:
    """What a terminal shows up to `end`, or until it is closed."""
    seen = b""
    while end not in seen:
        assert select.select([descriptor], [], [], 60)[0], seen
        try:
            seen += os.read(descriptor, 1 << 12)
        except OSError:  # closed
            break
    return seen
