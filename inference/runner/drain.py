"""Work that must be done when the interpreter ends, for a thread that is in a C++ library then aborts the process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self


class TooLate(Exception):
    """The block is left: nothing more is begun."""


class Finishing:
    """A context that is left only when no work is under way, and lets none begin from then on; threads may use it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._under_way = 0
        self._left = False

    @contextmanager
    def work(self) -> Iterator[None]:
        """Work until the end of the block. Raises TooLate."""
        with self._changed:
            if self._left:
                raise TooLate
            self._under_way += 1
        try:
            yield
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._left = True
            self._changed.wait_for(lambda: not self._under_way)
