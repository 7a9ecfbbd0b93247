"""The commands of every page run, and print the sample output that the page shows."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.conftest import HANG_S, ROOT, free_port
from tests.docs.pages import PAGES, blocks

pytestmark = pytest.mark.slow

NUMBER = re.compile(r"(?<![A-Za-z_])[\d][\d,.]*( (µs|ms|s|B|kB|MB))?(?![A-Za-z_])|(?<=run=)\w+|█+")


def commands(page: str) -> list[str]:
    """What a reader types: the lines of `console` blocks after the prompt. Targets of make are tests of their own."""
    lines = [line for block in blocks(page, "console") for line in block.splitlines()]
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ") and not line.startswith("$ make ")]


RUN = [page for page in PAGES if commands(page)]


def masked(text: str) -> set[str]:
    """The lines without what differs from run to run: numbers with their units, ids of runs, and how columns align."""
    return {" ".join(NUMBER.sub("#", line).split()) for line in text.splitlines()}


@pytest.mark.parametrize("page", RUN)
def test_the_commands_of_a_page_run_in_their_order_and_print_its_sample_output(page, tmp_path):
    """In a folder that has what the checkout has, on a free port."""
    (tmp_path / "data").symlink_to(ROOT / "data")
    port = str(free_port())
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    servers, printed = [], ""
    try:
        for command in commands(page):
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
            printed += done.stdout
    finally:
        for server in servers:
            server.terminate()
            server.wait(HANG_S)
    samples = [sample for sample in blocks(page, "text") if not sample.startswith("$ ")]
    assert masked("".join(samples)) - {"", "…"} <= masked(printed), "the page shows what its commands do not print"


def test_pages_have_commands_and_sample_output():
    assert len(commands("README.md")) >= 8
    assert len(RUN) >= 5
    assert blocks("README.md", "text")


def await_server(url: str, server: "subprocess.Popen[bytes]") -> None:
    while server.poll() is None:
        try:
            if httpx.get(url, trust_env=False, timeout=HANG_S).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"{url} never answered: the server ended with {server.returncode}")
