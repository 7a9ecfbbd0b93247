"""The console on which commands print tables."""

import io
import re
import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text

from hybrid_batch.data.terminal.escapes import escape_controls, escape_line, escape_title

_PIPED_WIDTH = 200
_MEASURED_WIDTH = 10_000
_FOLDED_WIDTH = 12  # the smallest, of a column of text


def open_console() -> Console:
    """Return a console on stdout: as wide as the terminal, or 200 characters for a pipe or a file.

    A table that does not fit is printed wider than the terminal, which continues its rows on the next line: no column
    is dropped and no number is shortened."""
    console = WideConsole(highlight=False)
    return console if console.is_terminal else WideConsole(file=_Unpadded(), width=_PIPED_WIDTH, highlight=False)


class WideConsole(Console):
    """A console whose tables are as wide as their columns need, and which escapes control characters in text."""

    def print(self, *objects: Any, **settings: Any) -> None:  # noqa: ANN401
        """Print as rich does; a table is given the width that it needs."""
        objects = tuple(escape_title(item) if isinstance(item, str) else item for item in objects)
        for table in (item for item in objects if isinstance(item, Table)):
            _escape_cells(table)
        needed = max((self._needed_width(item) for item in objects if isinstance(item, Table)), default=0)
        if needed <= self.width:
            super().print(*objects, **settings)
            return
        before, self.width = self.width, needed
        try:
            super().print(*objects, **settings)
        finally:
            self.width = before

    def render_str(self, text: str, **settings: Any) -> Text:  # noqa: ANN401
        """As rich does, of the text with escapes: its width counts before the layout."""
        return super().render_str(escape_controls(text), **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """As rich does; text that did not pass `render_str` is escaped too."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=escape_controls(segment.text))

    def _needed_width(self, table: Table) -> int:
        """The width of a table whose numbers are not shortened. Columns of text fold, without loss of characters."""
        width = 1
        for column in table.columns:
            natural = max(self._natural_width(column), column.min_width or 0)
            folds = not column.no_wrap and (column.justify == "left" or column.overflow == "fold")
            column.no_wrap, column.overflow = not folds, "fold"
            width += (min(natural, _FOLDED_WIDTH) if folds else natural) + 2
        return width

    def _natural_width(self, column: Column) -> int:
        options = self.options.update(width=_MEASURED_WIDTH)
        cells = (column.header, *column.cells)
        return max((Measurement.get(self, options, cell).maximum for cell in cells), default=0)


def _escape_cells(table: Table) -> None:
    """Escape the line feeds and tabs of the cells and headers: a name of others cannot add a row."""
    for column in table.columns:
        column.header = _escape_cell(column.header)
        column._cells = [_escape_cell(cell) for cell in column._cells]


def _escape_cell(cell: RenderableType) -> RenderableType:
    if isinstance(cell, str):
        return escape_line(cell)
    if isinstance(cell, Text) and (plain := escape_line(cell.plain)) != cell.plain:
        return Text(plain, style=cell.style)
    return cell


class _Unpadded(io.StringIO):
    """Stdout without the trailing blanks of table rows."""

    def write(self, text: str) -> int:
        return sys.stdout.write(re.sub(r" +$", "", text, flags=re.MULTILINE))

    def flush(self) -> None:
        sys.stdout.flush()
