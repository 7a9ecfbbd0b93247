"""Child processes that exchange lines of text with this process and end with it."""

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from hybrid_batch import data
from hybrid_batch.data.errors import TailUnreachable

_ROOT = Path(data.__file__).parents[2]
_TERMINATE_TIMEOUT_S = 10.0
_ERROR_BYTES = 2000  # of standard error that are searched for the last line


class LineProcess:
    """Runs `python -m MODULE ARGUMENTS` and exchanges lines over its standard input and output.

    A context manager: the process ends with the block. Its standard input closes when this process ends, which makes
    it exit. It runs in a session of its own, so Ctrl-C in the terminal interrupts only this process."""

    def __init__(self, module: str, *arguments: str) -> None:
        path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
        self._module = module
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=os.environ | {"PYTHONPATH": path},
            start_new_session=True,
            text=True,
        )

    def write_line(self, line: str) -> None:
        """Send one line. Raises TailUnreachable if the process has exited."""
        try:
            pipe = _opened(self.process.stdin)
            pipe.write(f"{line}\n")
            pipe.flush()
        except OSError as error:
            raise self._exited() from error

    def read_line(self) -> str:
        """Wait for the next line. Raises TailUnreachable if the process exits first."""
        line = _opened(self.process.stdout).readline()
        if not line:
            raise self._exited()
        return line

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.process.terminate()
        else:
            self.process.kill()
        try:
            self.process.wait(_TERMINATE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self._errors):
            if pipe is not None:
                with suppress(BrokenPipeError):  # the process exited before it read the last line
                    pipe.close()

    def _exited(self) -> TailUnreachable:
        self.process.wait()
        self._errors.seek(0)
        lines = self._errors.read()[-_ERROR_BYTES:].decode(errors="replace").strip().splitlines()
        return TailUnreachable(
            f"The process {self._module} exited with {self.process.returncode} "
            f"({lines[-1] if lines else 'no error output'}); check free memory and disk space."
        )


def on_parent_exit(callback: Callable[[], None]) -> None:
    """In the child process: call `callback` from a thread once the parent has ended."""

    def wait() -> None:
        # Not sys.stdin.read: it holds a lock that the interpreter needs at its exit.
        while os.read(sys.stdin.fileno(), 1 << 12):
            pass
        callback()

    threading.Thread(target=wait, daemon=True).start()


def _opened(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None  # noqa: S101 - Popen opened it with PIPE
    return pipe
