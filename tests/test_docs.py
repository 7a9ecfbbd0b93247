"""Documentation cannot drift: the demo runs, every command has help, every command and module is described."""

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from hybrid_batch.cli import cli
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def all_commands() -> list[tuple[str, click.Command]]:
    found: list[tuple[str, click.Command]] = []

    def walk(prefix: str, command: click.Command) -> None:
        found.append((prefix, command))
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                child = command.get_command(context, name)
                assert child is not None
                walk(f"{prefix} {name}", child)

    walk("hybrid-batch", cli)
    return found


def test_the_demo_runs(tmp_path):
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    done = subprocess.run([ROOT / "docs" / "demo.sh"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^accuracy +0.99", done.stdout, re.MULTILINE)) == 2, done.stdout


@pytest.mark.parametrize(("name", "command"), all_commands(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_command_has_help_with_an_example_and_every_option_too(name, command):
    assert command.help
    if not isinstance(command, click.Group):
        assert "Example" in command.help, name
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not isinstance(parameter.type, click.Choice | click.IntRange):
            assert parameter.help, f"{name} {parameter.name}"


def test_every_command_is_in_the_readme_or_its_links():
    text = README + "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md"))
    for name, command in all_commands():
        if not isinstance(command, click.Group):
            assert name in text, f"{name} is documented nowhere"


def test_the_list_of_modules_is_true():
    script = [sys.executable, "-c", "import list_modules; print(list_modules.page(), end='')"]
    done = subprocess.run(script, cwd=ROOT / "docs", capture_output=True, text=True, check=True)
    written = (ROOT / "docs" / "modules.md").read_text(encoding="utf-8")
    assert written == done.stdout, "run `make modules`"
