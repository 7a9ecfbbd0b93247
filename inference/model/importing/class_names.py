"""Class names from a file with one per line, in the order of the model's outputs."""

import re
from dataclasses import dataclass
from pathlib import Path

from hybrid_batch.data.errors import BadLabels
from hybrid_batch.data.storage.text_file import read_text_file

_LIMIT_BYTES = 4 << 20
_INDEXED = re.compile(r"(\d+)[ \t]+(\S.*)")


@dataclass(frozen=True, slots=True)
class ClassNames:
    """The names, and whether the file had an index before each of them."""

    names: tuple[str, ...]
    were_indexed: bool = False


def read_classes(path: Path) -> ClassNames:
    """Read class names, one per line, without surrounding blanks.

    Files as Teachable Machine writes them ("0 Rock", "1 Paper") have an index before each name; it is removed only if
    the lines have the indices 0, 1, 2, … in this order. Raises BadLabels."""
    lines = [line.strip() for line in read_text_file(path, "class names", _LIMIT_BYTES, refusal=BadLabels).splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    if not lines or "" in lines:
        raise BadLabels(f"{path} must name one class per line; line {lines.index('') + 1 if lines else 1} is empty.")
    if len(lines) == 1 and (lines[0][0] in "[{" or "," in lines[0]):
        raise BadLabels(f"{path} looks like JSON or a list with commas; write one class name per line.")
    names = _without_indices(lines)
    found = ClassNames(tuple(names or lines), names is not None)
    if len(set(found.names)) < len(found.names):
        duplicate = next(name for name in found.names if found.names.count(name) > 1)
        raise BadLabels(f"{path} names the class {duplicate!r} twice; give each class its own name.")
    return found


def _without_indices(lines: list[str]) -> list[str] | None:
    """The names behind the indices 0, 1, 2, …; None if the lines do not have these indices."""
    found = [_INDEXED.fullmatch(line) for line in lines]
    names = [match[2] for index, match in enumerate(found) if match and match[1] == str(index)]
    return names if len(names) == len(lines) else None
