"""The pages of the project, and what they write as code."""

import re
from collections.abc import Iterator

from tests.conftest import ROOT

PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
    if path.name != "CHANGELOG.md"  # names what no longer exists
}
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str, kind: str) -> list[str]:
    """The contents of a page's code blocks of one kind, such as `console`."""
    return [text for found, text in BLOCK.findall(PAGES[page]) if found == kind]


def spans(page: str) -> Iterator[str]:
    """What a page writes as code: commands of its blocks, and spans in its text."""
    for kind in ("console", "bash"):
        for block in blocks(page, kind):
            yield from (line.removeprefix("$ ") for line in block.replace("\\\n", " ").splitlines())
    yield from re.findall(r"`([^`\n]+)`", BLOCK.sub("", PAGES[page]))
