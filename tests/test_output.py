"""Every text that a command writes passes the functions that escape control characters."""

import ast
import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hybrid_batch.cli import main
from hybrid_batch.data.terminal.escapes import escape_json
from hybrid_batch.data.terminal.messages import print_json
from tests.conftest import COMMAND, HANG_S
from tests.factories.records import random_records, write_run
from tests.test_architecture import modules

_OUTPUT = "data/terminal"
_RAW = {
    *("click.echo", "click.secho", "click.confirm", "click.prompt", "print", "pprint", "Console", "rich.print"),
    *(f"sys.{stream}.{verb}" for stream in ("stdout", "stderr") for verb in ("write", "writelines", "buffer.write")),
    *("traceback.print_exc", "traceback.print_exception", "os.write"),
}


def dotted(node: ast.expr) -> str:
    """The name of a called function, such as `sys.stdout.write`; empty for other expressions."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (value := dotted(node.value)):
        return f"{value}.{node.attr}"
    return ""


def raw_output(module: Path) -> Iterator[str]:
    """The calls of a module that write text unescaped."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        exits_with_text = name == "sys.exit" and any(isinstance(text, ast.JoinedStr) for text in node.args)
        prints_to_console = name == "Console" or name.endswith(".Console")
        if name in _RAW or exits_with_text or prints_to_console or name.endswith("stdout.buffer"):
            yield f"{module}:{node.lineno} {name}"


def test_no_module_writes_text_by_itself() -> None:
    found = [call for module in modules() if _OUTPUT not in str(module) for call in raw_output(module)]
    assert not found


def test_the_search_finds_raw_output(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        "import click, sys\nclick.echo(a)\nprint(b)\nsys.stderr.writelines(c)\nsys.exit(f'{d}')\nConsole()\n"
        "sys.exit(1)\nsys.exit('text')\nclick.option(b)\n"
    )
    assert [call.rpartition(" ")[2] for call in raw_output(module)] == [
        "click.echo",
        "print",
        "sys.stderr.writelines",
        "sys.exit",
        "Console",
    ]


def test_json_stays_json(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"name": "".join(map(chr, range(0x2100)))}
    print_json(value)
    printed = capsys.readouterr().out
    assert json.loads(printed) == value
    assert printed.isascii()
    assert printed.rstrip("\n").isprintable()
    assert json.loads(escape_json(json.dumps("\x7f"))) == "\x7f"


def run_on_terminal(arguments: list[str], folder: Path) -> str:
    """What a command writes to its terminal."""
    master, slave = pty.openpty()
    with subprocess.Popen([*COMMAND, *arguments], cwd=folder, stdin=slave, stdout=slave, stderr=slave) as process:
        os.close(slave)
        output = io.BytesIO()
        while True:
            try:
                piece = os.read(master, 1 << 16)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            output.write(piece)
        process.wait(HANG_S)
    os.close(master)
    assert process.returncode == 0, output.getvalue()
    return output.getvalue().decode()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the end of a terminal is read in another form")
def test_an_export_is_escaped_on_a_terminal_only(tmp_path: Path) -> None:
    write_run(f"{tmp_path}/run=a", random_records(4, ["a\x1b]0;title\x07b", "c\x9b31md"]), 4)
    arguments = ["export", "run=a", "--format", "jsonl"]
    shown = run_on_terminal(arguments, tmp_path)
    assert not {"\x1b", "\x07", "\x9b"} & set(shown)
    piped = subprocess.run([*COMMAND, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert len(piped.splitlines()) == len(shown.splitlines())
    assert "a\x1b]0;title\x07b" in {json.loads(line)["prediction"] for line in piped.splitlines()}


@pytest.mark.parametrize("name", ["a\x1b[31mb", "[link=https://evil.example]cat[/link]", "[/]", "[bold]x", "\u202ecba"])
def test_class_names_are_neither_sequences_nor_markup(tmp_path: Path, name: str, capsys: pytest.CaptureFixture) -> None:
    write_run(f"{tmp_path}/run=a", random_records(40, [name, "other"]), 40)
    assert main(["evaluate", f"{tmp_path}/run=a", "--no-files"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\u202e" not in out
    if name.startswith("["):
        assert name in out
