"""Records on stdout: the bytes of a file for a pipe, escaped lines for a terminal."""

import io
import sys
from typing import BinaryIO, cast

from hybrid_batch.data.terminal.escapes import escape_controls


class _EscapedOutput(io.RawIOBase):
    """Writes UTF-8 to a terminal with its control characters escaped. Writers end each piece at a character."""

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        content = bytes(cast("bytes", data))
        sys.stdout.write(escape_controls(content.decode("utf-8", "backslashreplace")))
        return len(content)


def open_stdout() -> BinaryIO:
    """Stdout for the content of a text file: unchanged in a pipe, escaped on a terminal."""
    return cast("BinaryIO", _EscapedOutput()) if sys.stdout.isatty() else sys.stdout.buffer
