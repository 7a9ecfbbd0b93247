"""A process of our own beside this one, that ends with it however it ends."""

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

import hybrid_batch
from hybrid_batch.data.errors import TailUnreachable

_ROOT = Path(hybrid_batch.__file__).parents[1]
_PATIENCE_S = 10.0


class Child:
    """`python -m MODULE ARGUMENTS`, spoken to by lines. Its input ends when this process does, which tells it to end;
    it has a session of its own, so that Ctrl-C in the terminal reaches this process alone."""

    def __init__(self, module: str, *arguments: str) -> None:
        path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
        self._module = module
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed at the end
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=os.environ | {"PYTHONPATH": path},
            start_new_session=True,
            text=True,
        )

    def tell(self, line: str) -> None:
        """Send a line. Raises TailUnreachable when it is gone."""
        try:
            pipe = _pipe(self.process.stdin)
            pipe.write(f"{line}\n")
            pipe.flush()
        except OSError as error:
            raise self._gone() from error

    def hear(self) -> str:
        """Its next line. Raises TailUnreachable when it ended instead."""
        line = _pipe(self.process.stdout).readline()
        if not line:
            raise self._gone()
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
            self.process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self._errors):
            if pipe is not None:
                with suppress(BrokenPipeError):  # a line it did not live to read
                    pipe.close()

    def _gone(self) -> TailUnreachable:
        self.process.wait()
        self._errors.seek(0)
        said = self._errors.read()[-2000:].decode(errors="replace").strip().splitlines()
        return TailUnreachable(
            f"{self._module}, started on this machine, ended with {self.process.returncode} "
            f"({said[-1] if said else 'it said nothing'}); see that there is memory and room for its files."
        )


def watch_parent(end: Callable[[], None]) -> None:
    """In the child: call `end` when the parent is gone."""

    def wait() -> None:
        # Not sys.stdin.read: it would hold a lock that the interpreter takes at its end.
        while os.read(sys.stdin.fileno(), 1 << 12):
            pass
        end()

    threading.Thread(target=wait, daemon=True).start()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None  # noqa: S101 - it was asked for
    return pipe
