"""Control characters in text from data: escaped before a terminal interprets them.

File names, class names, labels and errors come from models, logs, images and servers of others. An escape sequence in
one of them can rewrite lines, set the title or the clipboard of a terminal; a change of direction can reorder a line.
"""

import re
from typing import TextIO

# C0 without tab and line feed, DEL and C1; line and paragraph separators; marks and overrides of direction.
_CONTROLS = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def escape_controls(text: str) -> str:
    r"""The text with each control character as Python writes it: `\x1b`, `\u202e`. Tabs and line feeds stay."""
    return _CONTROLS.sub(_escape, text)


def escape_json(text: str) -> str:
    r"""JSON that `json.dumps` made, with its one raw control character, DEL, as JSON writes it: `\u007f`."""
    return text.replace("\x7f", r"\u007f")


def write_line(stream: TextIO, text: str) -> None:
    """Write a line to a stream. For programs without the libraries of the command line: jobs, workers, functions."""
    stream.write(f"{escape_controls(text)}\n")


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
