"""Start the process of an import, wait for its reply, and end it and all it started.

The reply is that of a stranger: its size is limited, and only the errors of an import are taken from it.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import msgspec

from hybrid_batch.data.errors import (
    BadLabels,
    HybridBatchError,
    MissingExtra,
    ModelRefused,
    NotABundle,
    StorageFailed,
    WrongUsage,
)
from hybrid_batch.inference.model.importing.sandbox.child_process import FORBIDDEN, TOO_LARGE, ImportRequest
from hybrid_batch.inference.model.importing.sandbox.limits import GIBIBYTE, Protections
from hybrid_batch.inference.model.importing.sandbox.search_paths import environment

_ERRORS: dict[str, type[HybridBatchError]] = {
    error.__name__: error for error in (BadLabels, MissingExtra, ModelRefused, NotABundle, StorageFailed, WrongUsage)
}
_PROGRAM = (
    "import json, sys; line = sys.stdin.readline(); sys.path[:] = json.loads(sys.stdin.readline());"
    " from hybrid_batch.inference.model.importing.sandbox.child_process import run; run(line)"
)
_REPLY_LIMIT_BYTES = 1 << 20
_MOST_NOTES, _MOST_CHARACTERS = 20, 2000
_POLL_S = 0.005


class _Reply(msgspec.Struct, frozen=True):
    """The second line of a reply: the notes of an import, or the class and the message of its error."""

    notes: list[str] = []
    error: str | None = None
    message: str = ""
    trace: str = ""


def ask_child(request: ImportRequest, search: Sequence[str], temporary: Path) -> tuple[Protections, tuple[str, ...]]:
    """Import in a new process, with the folder `temporary` as its home: the protections in force, and the notes.

    Raises the error of the import, and ModelRefused if the process was ended by a limit or a signal."""
    lines = f"{request.to_json()}\n{json.dumps(list(search))}\n".encode()
    end = time.monotonic() + request.limits.time_s
    # Python is isolated from its own settings, from the working folder, and from user's folders of packages.
    with _process(
        [sys.executable, "-I", "-B", "-c", _PROGRAM], environment(temporary, network=request.network)
    ) as process:
        reply = _exchange(process, lines, end)
        if reply is not None and len(reply) > _REPLY_LIMIT_BYTES:
            raise NotABundle(f"The import of {request.reference} ended with a result of over 1 MiB, which is not one.")
        code = None if reply is None else _exit_code(process, end)
    if reply is None or code is None:
        raise ModelRefused(
            f"The import of {request.reference} was ended after {request.limits.time_s:g} s;"
            " `hybrid-batch import --max-time` allows more."
        )
    try:
        first, _, second = reply.partition(b"\n")
        protections = msgspec.json.decode(first, type=Protections)
        return protections, outcome(request, second)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise _end_of(request, code) from error


def outcome(request: ImportRequest, result: bytes) -> tuple[str, ...]:
    """The notes of an import from the second line of a reply. Raises the error that the line holds."""
    found = msgspec.json.decode(result, type=_Reply)
    if found.error is not None:
        raise _error_of(request, found)
    return tuple(note[:_MOST_CHARACTERS] for note in found.notes[:_MOST_NOTES])


@contextmanager
def _process(command: Sequence[str], settings: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, so that Ctrl-C reaches only this one, which ends it."""
    process = subprocess.Popen(
        command,
        env=settings,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        bufsize=0,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # before it is awaited, so that its number is not another's
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                cast("IO[bytes]", pipe).close()
        process.wait()


def _exchange(process: subprocess.Popen[bytes], lines: bytes, end: float) -> bytes | None:
    """Send the request and read the reply, at most its limit. None if the time is over."""
    requests, replies = cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stdout)
    with contextlib.suppress(BrokenPipeError):
        requests.write(lines)
    reply = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(replies, selectors.EVENT_READ)
        while len(reply) <= _REPLY_LIMIT_BYTES:
            if not selector.select(max(0.0, end - time.monotonic())):
                return None
            part = os.read(replies.fileno(), 1 << 16)
            if not part:
                break
            reply += part
    return bytes(reply)


def _exit_code(process: subprocess.Popen[bytes], end: float) -> int | None:
    """The exit code or the negative signal of a process that has closed its output. None if the time is over.

    The process is not yet awaited: its number stays its own until all that it started is ended."""
    while (found := os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)) is None:
        if time.monotonic() > end:
            return None
        time.sleep(_POLL_S)
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def _end_of(request: ImportRequest, code: int) -> HybridBatchError:
    """The error of a process that has not replied."""
    memory = f"{request.limits.memory_bytes / GIBIBYTE:g} GiB"
    if code >= 0:
        return NotABundle(f"The import of {request.reference} ended without a result (exit code {code}).")
    if -code == signal.SIGXCPU:
        return ModelRefused(
            f"The import of {request.reference} used the processor for longer than its time allows;"
            " `hybrid-batch import --max-time` allows more."
        )
    name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
    return ModelRefused(
        f"The import of {request.reference} was ended by {name}: it needs more memory than {memory}"
        " (`hybrid-batch import --max-memory-gb` allows more) or a system call that it may not make, or the model is"
        " damaged or hostile."
    )


def _error_of(request: ImportRequest, result: _Reply) -> HybridBatchError:
    """The error of an import, of a class that an import may raise, with one sentence."""
    message = " ".join(result.message.split())[:_MOST_CHARACTERS]
    if result.error == TOO_LARGE:
        error: HybridBatchError = ModelRefused(
            f"The import of {request.reference} needs more than {request.limits.memory_bytes / GIBIBYTE:g} GiB of"
            " memory; `hybrid-batch import --max-memory-gb` allows more."
        )
    elif result.error == FORBIDDEN:
        error = ModelRefused(
            f"The import of {request.reference} needs a system call that the process of imports may not make"
            f" ({message.rstrip('.')})."
        )
    elif result.error in _ERRORS:
        error = _ERRORS[result.error](message)
    else:
        error = NotABundle(f"The import of {request.reference} failed: {message.rstrip('.')}.")
    if result.trace:
        error.add_note(result.trace)  # printed with -v
    return error
