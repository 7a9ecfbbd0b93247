"""Write the list of modules in docs/architecture.md from the first line of each docstring: `make architecture`."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "architecture.md"
MARK = "<!-- from here on written by `make architecture` -->"
ROOMS = ("emr", "jobs", "evaluation", "inference", "data", "bench")


def module_list() -> str:
    """A heading for every room, a line for every module that says anything."""
    lines = []
    for room in ROOMS:
        lines += ["", f"### `{room}/`", ""]
        for module in sorted((ROOT / room).rglob("*.py")):
            words = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8")))
            if words:
                lines.append(f"- `{module.relative_to(ROOT)}`: {words.partition(chr(10) * 2)[0].replace(chr(10), ' ')}")
    return "\n".join(lines) + "\n"


def page() -> str:
    """The page as it should be."""
    return PAGE.read_text(encoding="utf-8").partition(MARK)[0] + MARK + "\n" + module_list()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
