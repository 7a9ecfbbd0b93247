"""Freed memory that the C library keeps for later allocations, and its return to the system."""

import ctypes
from contextlib import suppress


def return_freed_memory() -> None:
    """Return freed memory to the system with glibc's malloc_trim, which takes milliseconds; other C libraries have no
    such function."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
