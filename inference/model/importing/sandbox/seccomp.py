"""seccomp, the filter of a process's system calls (man 2 seccomp): what an import never needs fails with EPERM.

Landlock covers opened files and TCP. The filter covers the rest: other protocols and local sockets, other programs
and processes, and changes of a file's owner, mode and times, which need no opened file.
"""

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Iterator

from hybrid_batch.inference.model.importing.sandbox.landlock import forbid_new_privileges

_SET_SECCOMP, _FILTER_MODE = 22, 2
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_X32 = 0x40000000  # from this number on, calls of 32 bits on a processor of 64

# Numbers on x86_64 and aarch64; None where the architecture lacks the call.
_DENIED: dict[str, tuple[int | None, int | None]] = {
    # other processes
    **{"ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272)},
    **{"process_madvise": (440, 440), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438)},
    **{"pidfd_send_signal": (424, 424), "kill": (62, 129), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138)},
    **{"rt_tgsigqueueinfo": (297, 240), "perf_event_open": (298, 241)},
    # other programs
    **{"execve": (59, 221), "execveat": (322, 281), "fork": (57, None), "vfork": (58, None)},
    # calls that reach what this filter does not see
    **{"io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "bpf": (321, 280)},
    **{"userfaultfd": (323, 282), "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264)},
    # another view of the system
    **{"mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97)},
    **{"setns": (308, 268), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430)},
    **{"fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442)},
    **{"personality": (135, 92), "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218)},
    # the mode, owner, times and attributes of files, which Landlock leaves out
    **{"chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None)},
    **{"fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None)},
    **{"futimesat": (261, None), "utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6)},
    **{"fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16)},
    **{"setxattrat": (463, 463), "removexattrat": (466, 466), "file_setattr": (469, 469)},
    # memory that outlives the process or that its limit does not count
    **{"shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180)},
    **{"memfd_create": (319, 279), "memfd_secret": (447, 447)},
    # the machine and the limits of this process, for an import by root
    **{"setrlimit": (160, 164)},
    **{"init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104)},
    **{"kexec_file_load": (320, 294), "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225)},
    **{"settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171), "clock_adjtime": (305, 266)},
    **{"sethostname": (170, 161), "setdomainname": (171, 162), "acct": (163, 89), "quotactl": (179, 60)},
    **{"syslog": (103, 116), "iopl": (172, None), "ioperm": (173, None)},
}
_SOCKET, _SOCKET_PAIR, _CLONE, _CLONE3 = (41, 198), (53, 199), (56, 220), (435, 435)
_SIGNAL_THREAD, _LIMITS = (234, 131), (302, 261)
_CLONE_THREAD = 0x10000
_INTERNET = (2, 10, 16)  # IPv4, IPv6, and netlink, by which getaddrinfo lists the interfaces
_PERMISSION, _NO_SUCH_CALL = 1, 38

# Instructions of the filter's machine, and the places in the data that it reads.
_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_EQUAL, _AT_LEAST = 0x15, 0x35
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT, _NEW_LIMITS = 0, 4, 16, 32
_ALLOW, _ERROR, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def restrict_calls(*, network: bool) -> bool:
    """Filter the system calls of this thread and all it starts. `network` allows the sockets of the Internet.

    Returns whether the filter is in force; it exists for Linux on x86_64 and aarch64. Raises OSError if the kernel
    refuses it."""
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
        raise OSError(number, os.strerror(number))
    return True


def _instructions(column: int, architecture: int, process: int, *, network: bool) -> Iterator[_Instruction]:
    yield _LOAD, 0, 0, _ARCHITECTURE
    yield _EQUAL, 1, 0, architecture
    yield _RETURN, 0, 0, _KILL
    yield _LOAD, 0, 0, _NUMBER
    if column == 0:
        yield from ((_AT_LEAST, 0, 1, _X32), _error(_PERMISSION))
    denied = [number for pair in _DENIED.values() if (number := pair[column]) is not None]
    denied += [_SOCKET_PAIR[column]] if network else [_SOCKET[column], _SOCKET_PAIR[column]]
    for number in denied:
        yield from ((_EQUAL, 0, 1, number), _error(_PERMISSION))
    # The flags of clone3 are in memory, which a filter cannot read; without it, libraries take clone.
    yield from ((_EQUAL, 0, 1, _CLONE3[column]), _error(_NO_SUCH_CALL))
    yield from _by_argument(_CLONE[column], (_CLONE_THREAD,), mask=_CLONE_THREAD)
    yield from _by_argument(_SIGNAL_THREAD[column], (process,))
    yield from _reading_limits(_LIMITS[column])
    if network:
        yield from _by_argument(_SOCKET[column], _INTERNET)
    yield _RETURN, 0, 0, _ALLOW


def _by_argument(number: int, allowed: tuple[int, ...], mask: int = 0xFFFFFFFF) -> Iterator[_Instruction]:
    """Allow a call if its first argument, under a mask, is one of `allowed`."""
    body: list[_Instruction] = [(_LOAD, 0, 0, _FIRST_ARGUMENT), (_AND, 0, 0, mask)]
    body += [(_EQUAL, len(allowed) - index, 0, value) for index, value in enumerate(allowed)]
    body += [_error(_PERMISSION), (_RETURN, 0, 0, _ALLOW)]
    yield _EQUAL, 0, len(body), number
    yield from body


def _reading_limits(number: int) -> Iterator[_Instruction]:
    """Allow prlimit without new limits: both halves of the pointer to them are zero."""
    body: list[_Instruction] = [(_LOAD, 0, 0, _NEW_LIMITS), (_EQUAL, 0, 2, 0)]
    body += [(_LOAD, 0, 0, _NEW_LIMITS + 4), (_EQUAL, 1, 0, 0), _error(_PERMISSION), (_RETURN, 0, 0, _ALLOW)]
    yield _EQUAL, 0, len(body), number
    yield from body


def _error(number: int) -> _Instruction:
    return _RETURN, 0, 0, _ERROR | number
