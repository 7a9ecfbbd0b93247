"""Where commands print their tables."""

import io
import re
import sys

from rich.console import Console

_PIPED_WIDTH = 200


def open_console() -> Console:
    """Standard output: a terminal as wide as it is; for a pipe or a file, lines of at most 200 characters."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(file=_Unpadded(), width=_PIPED_WIDTH, highlight=False)


class _Unpadded(io.StringIO):
    """Standard output without the blanks that fill a table's rows."""

    def write(self, text: str) -> int:
        return sys.stdout.write(re.sub(r" +$", "", text, flags=re.MULTILINE))

    def flush(self) -> None:
        sys.stdout.flush()
