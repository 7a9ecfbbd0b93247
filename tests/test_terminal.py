"""Output to terminals of any width, to closed streams and in encodings other than UTF-8."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from tests.conftest import COMMAND, ROOT
from tests.factories.records import random_records, write_run

IMAGES = str(ROOT / "data/digits/images/3")
COMMANDS = {
    "cuts": ("cuts",),
    "evaluate": ("evaluate", "RUN", "--by", "label"),
    "compare": ("compare", "RUN", "RUN"),
    "run": ("run", IMAGES, "--split", "c005", "--log", "LOG"),
    "help": ("run", "--help"),
}
SHELL = f"exec {' '.join(COMMAND)}"


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("log") / "run=x"
    write_run(str(folder), random_records(40, ["a cat with a long name", "dog"]), 40)
    return str(folder)


def words(name: str, run: str, log: Path) -> list[str]:
    return [{"RUN": run, "LOG": str(log)}.get(word, word) for word in COMMANDS[name]]


def in_terminal(arguments: list[str], columns: int) -> tuple[int, str]:
    """Run a command in a terminal of that width; its exit code, and its output without escape codes."""
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    own = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    process = subprocess.Popen([*COMMAND, *arguments], stdout=terminal, stderr=terminal, env=own | {"TERM": "xterm"})
    os.close(terminal)
    received = b""
    while True:
        try:
            block = os.read(controller, 1 << 16)
        except OSError:  # the process closed its end
            break
        received += block
    os.close(controller)
    return process.wait(), re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", received.decode())


@pytest.mark.parametrize("columns", [20, 60])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_terminal_of_any_width_shows_every_cell(name: str, columns: int, run_folder: str, tmp_path: Path) -> None:
    arguments = words(name, run_folder, tmp_path)
    code, shown = in_terminal(arguments, columns)
    assert code == 0, shown
    assert "Traceback" not in shown
    rows = [" ".join(line.split()) for line in shown.splitlines()]
    if name == "cuts":
        assert "c005 block_1_out 8x8x12 3,072 20.0% ██" in rows
    if name == "evaluate":
        assert any(re.match(r"accuracy 0\.\d{4}\b", row) for row in rows), shown
        assert any(re.fullmatch(r"c002 \d+ .* [\d.]+ (µs|ms|s) [\d.]+ (µs|ms|s)", row) for row in rows), shown
    if name == "run":
        assert any(re.match(r"images 37 in ", row) for row in rows), shown


@pytest.mark.parametrize(
    ("name", "closed"), [*((name, ">&-") for name in COMMANDS), ("cuts", ">&- 2>&-"), ("run", "<&- >&- 2>&-")]
)
def test_closed_streams_end_no_command(name: str, closed: str, run_folder: str, tmp_path: Path) -> None:
    script = f'{SHELL} "$@" {closed}'
    done = subprocess.run(
        ["/bin/bash", "-c", script, "bash", *words(name, run_folder, tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "Traceback" not in done.stderr


def test_a_closed_stdout_is_not_a_file_of_the_run(tmp_path: Path) -> None:
    script = "import os; from hybrid_batch.cli import main; main(['--version']); os.write(1, b'x'); print(os.fstat(1))"
    closed = f'exec {sys.executable} -c "$0" >&-'
    done = subprocess.run(
        ["/bin/bash", "-c", closed, script], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *((name, {"PYTHONIOENCODING": "ascii"}) for name in COMMANDS),
        ("run", {"PYTHONIOENCODING": "latin-1"}),
        ("cuts", {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
        ("evaluate", {"LC_ALL": "POSIX"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value.values()),
)
def test_every_encoding_gets_readable_output(
    name: str, settings: dict[str, str], run_folder: str, tmp_path: Path
) -> None:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG"))}
    done = subprocess.run(
        [*COMMAND, *words(name, run_folder, tmp_path)],
        capture_output=True,
        check=False,
        env=own | settings,
    )
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    if settings.get("PYTHONIOENCODING") == "ascii":
        assert name == "help" or done.stdout.isascii()  # click replaces an ASCII stream by one of UTF-8
        assert b"\\u" not in done.stdout
        assert name != "cuts" or b"20.0%  ##\n" in done.stdout


def test_a_message_with_a_name_that_is_no_text_is_printed(tmp_path: Path) -> None:
    done = subprocess.run([*COMMAND, "cuts", b"bad\xff\xc3.keras"], capture_output=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(b"hybrid-batch: No model at bad")
