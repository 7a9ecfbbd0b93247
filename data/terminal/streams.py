"""Standard streams that never end a command: closed ones, and ones that cannot encode a character."""

import codecs
import os
import sys
from typing import TextIO

# The symbols of tables and messages, for an output that is not UTF-8. Other characters become backslash escapes.
_PLAIN = {
    **{"█": "#", "━": "-", "╺": "-", "╸": "-", "─": "-", "–": "-", "−": "-", "…": "...", "·": "|"},  # noqa: RUF001
    **{"×": "x", "≤": "<=", "≥": ">=", "±": "+/-", "→": "->", "µ": "u", "’": "'", "“": '"', "”": '"'},  # noqa: RUF001
    **{"\N{NO-BREAK SPACE}": " ", "⠋": "|"},
}
_ERRORS = "hybrid_batch.plain"


def protect_streams() -> None:
    """Open closed standard streams on the null device, and replace characters that a stream cannot encode.

    A closed descriptor 1 would be given to the next file that is opened, and a library that writes to stdout would
    write into that file."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free descriptor, which is this one
    sys.stdout = _usable(sys.stdout, 1)
    sys.stderr = _usable(sys.stderr, 2)


def _usable(stream: TextIO | None, descriptor: int) -> TextIO:
    if stream is None:
        stream = open(descriptor, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None and stream.errors in ("strict", "surrogateescape", "backslashreplace"):
        codecs.register_error(_ERRORS, _plain)
        reconfigure(errors=_ERRORS)
    return stream


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replace the characters that cannot be encoded; see codecs.register_error."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_PLAIN.get(char) or char.encode("ascii", "backslashreplace").decode() for char in text), error.end
