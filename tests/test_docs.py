"""Documentation cannot drift: README's commands run, every command and module is described."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import click
import httpx
import pytest

from hybrid_batch.cli import cli
from tests.conftest import HANG_S, ROOT, free_port

README = (ROOT / "README.md").read_text(encoding="utf-8")


def readme_commands() -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]


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


def test_every_command_of_the_readme_runs_in_its_order(tmp_path):
    """In a folder that has what the checkout has, on a port that is free; `make demo` is a test of its own."""
    (tmp_path / "data").symlink_to(ROOT / "data")
    port = str(free_port())
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    servers = []
    commands = [command for command in readme_commands() if not command.startswith("make ")]
    assert len(commands) >= 9
    try:
        for command in commands:
            line = command.replace("8000", port)
            if line.endswith("&"):
                servers.append(subprocess.Popen(line.rstrip("& ").split(), cwd=tmp_path, env=environment))
                await_server(f"http://127.0.0.1:{port}/v2/health/ready", servers[-1])
                continue
            done = subprocess.run(
                ["/bin/bash", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{line}\n{done.stderr}"
            assert done.stdout.strip()
    finally:
        for server in servers:
            server.terminate()
            server.wait(HANG_S)


def await_server(url: str, server: "subprocess.Popen[bytes]") -> None:
    while server.poll() is None:
        try:
            if httpx.get(url, trust_env=False, timeout=HANG_S).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"{url} never answered: the server ended with {server.returncode}")


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
    script = [sys.executable, "-c", "import architecture; print(architecture.page(), end='')"]
    done = subprocess.run(script, cwd=ROOT / "docs", capture_output=True, text=True, check=True)
    written = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert written == done.stdout, "run `make architecture`"


def test_links_lead_somewhere():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"
