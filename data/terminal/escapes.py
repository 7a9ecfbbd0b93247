"""Control characters in text from data: escaped before a terminal interprets them.

File names, class names, labels and errors come from models, logs, images and servers of others. An escape sequence in
one of them can rewrite lines, set the title or the clipboard of a terminal; a change of direction can reorder a line.
"""

import re
from typing import TextIO

# C0 without tab and line feed, DEL and C1; line and paragraph separators; marks and overrides of direction; half
# surrogates; characters that no font shows, by the property Default_Ignorable_Code_Point of Unicode 15, with which two
# names can look equal; the annotation characters.
_CONTROLS = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"
    "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def escape_controls(text: str) -> str:
    r"""The text with each control character as Python writes it: `\x1b`, `\u202e`. Tabs and line feeds stay."""
    return _CONTROLS.sub(_escape, text)


def escape_line(text: str) -> str:
    r"""As `escape_controls`, with tabs and line feeds too, as `\t` and `\n`: a name of others cannot add a line."""
    return escape_controls(text).replace("\t", r"\t").replace("\n", r"\n")


def escape_title(text: str) -> str:
    """As `escape_line`; line feeds at the start stay, with which a program sets off a title."""
    line = text.lstrip("\n")
    return "\n" * (len(text) - len(line)) + escape_line(line)


def escape_json(text: str) -> str:
    r"""JSON that `json.dumps` made, with its one raw control character, DEL, as JSON writes it: `\u007f`."""
    return text.replace("\x7f", r"\u007f")


def write_line(stream: TextIO, text: str) -> None:
    """Write a line to a stream. For programs without the libraries of the command line: jobs, workers, functions."""
    stream.write(f"{escape_controls(text)}\n")


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
