"""Ctrl-C and SIGTERM during a run."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_EXIT_CODE = 130


@contextmanager
def interruptible() -> Iterator[None]:
    """Within the block the first SIGINT or SIGTERM raises KeyboardInterrupt, the second does nothing, and the third
    ends the process. In the main thread only; other threads cannot set signal handlers.

    The second comes while running computations are awaited. If it ended that wait, the process would abort: a thread
    would be inside a C++ library when the interpreter exits. `timeout -s INT` always sends two."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received = 0

    def interrupt(_: int, __: FrameType | None) -> None:
        nonlocal received
        received += 1
        if received == 1:
            raise KeyboardInterrupt
        if received > 2:
            os._exit(_EXIT_CODE)

    before = {number: signal.signal(number, interrupt) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
