"""Write docs/modules.md, the first line of each module's docstring: `make modules`."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "modules.md"
PACKAGES = ("hybrid_batch", "emr", "jobs", "evaluation", "inference", "data", "bench")
HEAD = """\
# Modules

Each module with the first line of its docstring, written by `make modules`. The page [Architecture](architecture.md)
explains how they work together.
"""


def page() -> str:
    """A heading for every package and a line for every module with a docstring. Linked folders are not followed."""
    lines = [HEAD.rstrip("\n")]
    for package in PACKAGES:
        lines += ["", f"## `{package}/`", ""]
        for module in sorted((ROOT / package).rglob("*.py")):
            words = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8")))
            if words:
                lines.append(f"- `{module.relative_to(ROOT)}`: {words.partition(chr(10) * 2)[0].replace(chr(10), ' ')}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
