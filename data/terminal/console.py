"""The console on which commands print tables."""

import io
import re
import sys

from rich.console import Console

_PIPED_WIDTH = 200


def open_console() -> Console:
    """Return a console on stdout: as wide as the terminal, or 200 characters for a pipe or a file."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(file=_Unpadded(), width=_PIPED_WIDTH, highlight=False)


class _Unpadded(io.StringIO):
    """Stdout without the trailing blanks of table rows."""

    def write(self, text: str) -> int:
        return sys.stdout.write(re.sub(r" +$", "", text, flags=re.MULTILINE))

    def flush(self) -> None:
        sys.stdout.flush()
