"""Commands, options, files and names that a page mentions exist."""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from bench.__main__ import BENCHES
from hybrid_batch.cli import COMMANDS, cli
from tests.conftest import ROOT
from tests.docs.pages import PAGES, spans

# Options of other programs, and of `python -m bench`.
OTHER_OPTIONS = {"--mapper", "--reducer", "--scale", "--limit"}


def find_command(words: list[str]) -> click.Command | None:
    """The command that words after `hybrid-batch` name; None if they name none."""
    found: click.Command = cli
    for word in words:
        if not isinstance(found, click.Group):
            break
        child = found.get_command(click.Context(found), word)
        if child is None:
            return None if found is cli else found
        found = child
    return found


def options_of(command: click.Command) -> set[str]:
    children = [command.get_command(click.Context(command), name) for name in getattr(command, "commands", ())]
    own = {name for parameter in command.params for name in parameter.opts} | {"--help", "--version"}
    return own.union(*(options_of(child) for child in children if child is not None))


def all_options() -> set[str]:
    lazy = [cli.get_command(click.Context(cli), name) for name in COMMANDS]
    return options_of(cli).union(*(options_of(command) for command in lazy if command is not None))


@pytest.mark.parametrize("page", [page for page in PAGES if page != "docs/modules.md"])
def test_commands_and_options_that_a_page_names_exist(page):
    known = all_options() | OTHER_OPTIONS
    for span in spans(page):
        if span.startswith("hybrid-batch "):
            words = shlex.split(span.partition(" # ")[0].rstrip("& ").replace("|", " "), comments=True)[1:]
            command = find_command([word for word in words if not word.startswith("-")])
            assert command is not None, f"{page}: {span}"
            named = {word.partition("=")[0] for word in words if word.startswith("--")}
            assert named <= options_of(command), f"{page}: {span}"
        elif span.startswith("--"):
            assert span.split()[0].partition("=")[0] in known, f"{page}: {span}"


@pytest.mark.parametrize("page", PAGES)
def test_files_and_modules_that_a_page_names_exist(page):
    for span in spans(page):
        path = span.partition(" ")[0]
        is_path = re.fullmatch(r"(hybrid_batch|data|inference|evaluation|jobs|emr|bench|tests|docs)/[\w./-]*", path)
        if is_path and "NAME" not in path and path != "bench/results":
            assert (ROOT / path).exists(), f"{page}: {path}"
        for module in re.findall(r"python -m ([\w.]+)", span):
            assert is_program(module), f"{page}: {module}"
        for name in re.findall(r"python -m bench (\w+)", span):
            assert name in BENCHES, f"{page}: {name}"


def is_program(module: str) -> bool:
    """Whether `python -m` runs a module: a package with `__main__`, or a module that compares its name with it."""
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        return False
    if found.submodule_search_locations is not None:
        return importlib.util.find_spec(f"{module}.__main__") is not None
    return '__name__ == "__main__"' in Path(found.origin).read_text(encoding="utf-8")


def table_rows(page: str) -> Iterator[tuple[str, str]]:
    """The file and the name of each table row that has both, one a cell."""
    for line in PAGES[page].splitlines():
        found = re.search(r"\| `([\w/]+\.py)` \| `(\w+)` \|", line)
        if found:
            yield found[1], found[2]


def test_names_that_the_architecture_gives_files_are_defined_in_them():
    rows = list(table_rows("docs/architecture.md"))
    assert len(rows) >= 20
    for file, name in rows:
        text = (ROOT / file).read_text(encoding="utf-8")
        assert re.search(rf"^\s*(def|class) {name}\b|^\s*{name}\b.*=", text, re.MULTILINE), f"{file}: {name}"
