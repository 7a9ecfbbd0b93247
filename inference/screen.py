"""Where commands print their tables."""

from rich.console import Console


def open_console(piped_width: int) -> Console:
    """The terminal, as wide as it is; for a pipe or a file, lines of so many characters."""
    console = Console()
    return console if console.is_terminal else Console(width=piped_width)
