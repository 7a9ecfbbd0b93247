"""Landlock, the access control of Linux by which a process takes rights from itself (man 7 landlock).

A right that the kernel's version lacks is left out, so that the rest holds on older kernels.
"""

import ctypes
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # on every architecture
_VERSION_FLAG, _PATH_BENEATH = 1, 1
_NO_NEW_PRIVILEGES = 38
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _DEVICE_CONTROL = 1 << 14, 1 << 15
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _DEVICE_CONTROL
# The number of rights to files that a version knows; later versions keep the last.
_COUNT_OF_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_NETWORK_VERSION, _SCOPE_VERSION = 4, 6
_BIND_AND_CONNECT, _SOCKETS_AND_SIGNALS = 0b11, 0b11


@dataclass(frozen=True, slots=True)
class FileAccess:
    """Paths whose files may be read, folders that may only be listed, and paths that may be changed in every way.

    Each covers all below it. No path may be executed. What does not exist is skipped."""

    readable: tuple[Path, ...]
    listable: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scope", ctypes.c_uint64))


class _PathRule(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def landlock_version() -> int:
    """The version of Landlock in the kernel; 0 if it has none, or it is switched off."""
    if not sys.platform.startswith("linux"):
        return 0
    return max(0, int(_libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG))))


def restrict_files(access: FileAccess, *, network: bool) -> int:
    """Take from this thread, and all it starts, every access to files but `access`, and TCP unless `network`.

    Returns the version of Landlock in force, 0 for none. Raises OSError if the kernel refuses."""
    version = landlock_version()
    if not version:
        return 0
    files = (1 << _COUNT_OF_RIGHTS[min(version, max(_COUNT_OF_RIGHTS))]) - 1
    tcp = _BIND_AND_CONNECT if version >= _NETWORK_VERSION and not network else 0
    scope = _SOCKETS_AND_SIGNALS if version >= _SCOPE_VERSION else 0
    attributes = _Ruleset(files, tcp, scope)
    size = 8 if version < _NETWORK_VERSION else 16 if version < _SCOPE_VERSION else 24
    ruleset = _call(_CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(size), ctypes.c_uint32(0))
    try:
        _allow(ruleset, access.listable, files & _READ_DIR)
        _allow(ruleset, access.readable, files & (_READ_FILE | _READ_DIR))
        _allow(ruleset, access.writable, files & ~_EXECUTE)
        forbid_new_privileges()
        _call(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)
    return version


def forbid_new_privileges() -> None:
    """Let no program that this thread starts gain rights, which Landlock and seccomp need. Raises OSError."""
    if _libc().prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        raise _failure()


def _allow(ruleset: int, paths: Iterable[Path], rights: int) -> None:
    for path in paths:
        try:
            opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:  # it does not exist, or is out of reach already
            continue
        try:
            rule = _PathRule(rights if path.is_dir() else rights & _FILE_RIGHTS, opened)
            if not rule.allowed:  # a file has no right to be listed
                continue
            with suppress(OSError):  # a kind of file without rules, which stays out of reach
                _call(_ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_PATH_BENEATH), ctypes.byref(rule), 0)
        finally:
            os.close(opened)


def _call(*arguments: object) -> int:
    result = int(_libc().syscall(*arguments))
    if result < 0:
        raise _failure()
    return result


def _failure() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
