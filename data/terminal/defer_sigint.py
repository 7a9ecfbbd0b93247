"""Holding back Ctrl-C while it would lose track of something that costs money."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let an interrupt wait until the block has ended. Only for the main thread, where Python handles signals."""
    pending: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        pending.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if pending:
            signal.raise_signal(signal.SIGINT)
