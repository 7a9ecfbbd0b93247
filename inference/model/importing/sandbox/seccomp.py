"""seccomp, the filter of a process's system calls (man 2 seccomp): what is not listed in `system_calls` fails.

Landlock covers opened files and TCP. The filter covers the rest: other protocols and local sockets, other programs
and processes, and changes of a file's owner, mode and times, which need no opened file. A call that is not listed fails
with ENOSYS, as on an older kernel, so that libraries take another; a listed one with other arguments fails with EPERM.
"""

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Iterator

from hybrid_batch.inference.model.importing.sandbox.landlock import forbid_new_privileges
from hybrid_batch.inference.model.importing.sandbox.system_calls import ALLOWED, NETWORK, Rule, rules

_SET_SECCOMP, _FILTER_MODE = 22, 2
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

_PERMISSION, _NO_SUCH_CALL = 1, 38
_WITHOUT_FILTERS = (errno.EINVAL, errno.ENOSYS)  # a kernel that was built without them

# Instructions of the filter's machine, and the places in the data that it reads.
_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_EQUAL = 0x15
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_ALLOW, _ERROR, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def restrict_calls(*, network: bool) -> bool:
    """Filter the system calls of this thread and all it starts. `network` allows the sockets of the Internet.

    Returns whether the filter is in force: Linux on x86_64 and aarch64 has it, unless it was built without. Raises
    OSError if the kernel refuses it."""
    if not sys.platform.startswith("linux") or platform.machine() not in _ARCHITECTURES or sys.maxsize < 1 << 32:
        return False
    column, architecture = _ARCHITECTURES[platform.machine()]
    instructions = list(_instructions(column, architecture, os.getpid(), network=network))
    content = b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)
    forbid_new_privileges()
    program = _Program(len(instructions), content)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_SET_SECCOMP, ctypes.c_ulong(_FILTER_MODE), ctypes.byref(program), 0, 0):
        number = ctypes.get_errno()
        if number in _WITHOUT_FILTERS:
            return False
        raise OSError(number, os.strerror(number))
    return True


def _instructions(column: int, architecture: int, process: int, *, network: bool) -> Iterator[_Instruction]:
    yield _LOAD, 0, 0, _ARCHITECTURE
    yield _EQUAL, 1, 0, architecture
    yield _RETURN, 0, 0, _KILL
    yield _LOAD, 0, 0, _NUMBER
    for numbers in (ALLOWED | NETWORK if network else ALLOWED).values():
        if (number := numbers[column]) is not None:
            yield from ((_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW))
    for rule in rules(process, network=network):
        if (number := rule.numbers[column]) is not None:
            body = list(_checks(rule))
            yield _EQUAL, 0, len(body), number
            yield from body
    yield _error(_NO_SUCH_CALL)


def _checks(rule: Rule) -> Iterator[_Instruction]:
    """Allow the call if all conditions hold, and refuse it otherwise."""
    for condition in rule.conditions:
        yield _LOAD, 0, 0, _ARGUMENTS + 8 * condition.argument + 4 * condition.high
        yield _AND, 0, 0, condition.mask
        count = len(condition.values)
        yield from ((_EQUAL, count - index, 0, value) for index, value in enumerate(condition.values))
        yield _error(_PERMISSION)
    yield _RETURN, 0, 0, _ALLOW


def _error(number: int) -> _Instruction:
    return _RETURN, 0, 0, _ERROR | number
