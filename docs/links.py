"""Report dead links and missing images in every Markdown page of the project: `make lint`.

The site's strict build checks the links between the pages of `docs/`. It does not check images, nor pages outside that
folder, such as README.md.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).parent.parent
_LINK = re.compile(r"\]\(([^)\s]+)[^)]*\)")
_CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ +(.*?) *$", re.MULTILINE)


def pages(root: Path) -> list[Path]:
    """The pages in the folder of the project, and those in `docs/`."""
    return [*sorted(root.glob("*.md")), *sorted((root / "docs").glob("*.md"))]


def dead_links(page: Path) -> Iterator[str]:
    """A sentence for each link whose file or heading does not exist. Links to other hosts are not checked."""
    for target in _LINK.findall(_CODE.sub("", page.read_text(encoding="utf-8"))):
        path, _, anchor = unquote(target).partition("#")
        if ":" in path:
            continue
        found = page.parent / path if path else page
        if not found.exists():
            yield f"{page}: no file {target}"
        elif anchor and anchor not in anchors(found):
            yield f"{page}: no heading {target}"


def anchors(page: Path) -> set[str]:
    """The anchors of the headings of a page, as the site and code hosts build them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    words = (re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in _HEADING.findall(text))
    return {re.sub(r"\s+", "-", word) for word in words}


if __name__ == "__main__":
    found = [sentence for page in pages(ROOT) for sentence in dead_links(page)]
    sys.exit("\n".join(found) or None)
