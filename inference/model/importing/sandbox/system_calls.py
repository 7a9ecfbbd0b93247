"""The system calls that an import may make: on files, memory, threads and clocks of its own.

The list holds what imports of all kinds of models make, and what other versions of glibc, Python, TensorFlow, OpenMP
and jemalloc make in their place. Numbers are those of x86_64 and aarch64 (the kernel's `unistd_64.h` and
`asm-generic/unistd.h`); None where the architecture lacks the call.
"""

from collections.abc import Iterator
from dataclasses import dataclass

Numbers = tuple[int | None, int | None]

# Whatever the arguments.
ALLOWED: dict[str, Numbers] = {
    # open files
    "read": (0, 63),
    "write": (1, 64),
    "readv": (19, 65),
    "writev": (20, 66),
    "pread64": (17, 67),
    "pwrite64": (18, 68),
    "preadv": (295, 69),
    "pwritev": (296, 70),
    "lseek": (8, 62),
    "close": (3, 57),
    "close_range": (436, 436),
    "dup": (32, 23),
    "dup2": (33, None),
    "dup3": (292, 24),
    "pipe": (22, None),
    "pipe2": (293, 59),
    "fstat": (5, 80),
    "fstatfs": (138, 44),
    "ftruncate": (77, 46),
    "fallocate": (285, 47),
    "fadvise64": (221, 223),
    "fsync": (74, 82),
    "fdatasync": (75, 83),
    "sendfile": (40, 71),
    "copy_file_range": (326, 285),
    "getdents": (78, None),
    "getdents64": (217, 61),
    # paths, whose content and folders Landlock covers
    "stat": (4, None),
    "lstat": (6, None),
    "newfstatat": (262, 79),
    "statx": (332, 291),
    "statfs": (137, 43),
    "access": (21, None),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "getcwd": (79, 17),
    "chdir": (80, 49),
    "fchdir": (81, 50),
    "umask": (95, 166),
    "mkdir": (83, None),
    "mkdirat": (258, 34),
    "rmdir": (84, None),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "rename": (82, None),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "link": (86, None),
    "linkat": (265, 37),
    "symlink": (88, None),
    "symlinkat": (266, 36),
    # waiting
    "poll": (7, None),
    "ppoll": (271, 73),
    "select": (23, None),
    "pselect6": (270, 72),
    "epoll_create": (213, None),
    "epoll_create1": (291, 20),
    "epoll_ctl": (233, 21),
    "epoll_wait": (232, None),
    "epoll_pwait": (281, 22),
    "epoll_pwait2": (441, 441),
    "eventfd": (284, None),
    "eventfd2": (290, 19),
    # the memory of this process
    "brk": (12, 214),
    "mmap": (9, 222),
    "munmap": (11, 215),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "msync": (26, 227),
    "mincore": (27, 232),
    "mbind": (237, 235),
    "get_mempolicy": (239, 236),
    "set_mempolicy": (238, 237),
    "arch_prctl": (158, None),
    # its threads, and signals from itself
    "futex": (202, 98),
    "futex_waitv": (449, 449),
    "set_robust_list": (273, 99),
    "set_tid_address": (218, 96),
    "rseq": (334, 293),
    "membarrier": (324, 283),
    "restart_syscall": (219, 128),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "sched_yield": (24, 124),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "rt_sigpending": (127, 136),
    "rt_sigtimedwait": (128, 137),
    "rt_sigsuspend": (130, 133),
    "sigaltstack": (131, 132),
    # time and chance
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101),
    "gettimeofday": (96, 169),
    "time": (201, None),
    "getrandom": (318, 278),
    # facts about this process and the machine
    "getpid": (39, 172),
    "getppid": (110, 173),
    "gettid": (186, 178),
    "getuid": (102, 174),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getegid": (108, 177),
    "getresuid": (118, 148),
    "getresgid": (120, 150),
    "getgroups": (115, 158),
    "getpgrp": (111, None),
    "getpgid": (121, 155),
    "getsid": (124, 156),
    "getrlimit": (97, 163),
    "getrusage": (98, 165),
    "times": (100, 153),
    "uname": (63, 160),
    "sysinfo": (99, 179),
    "getcpu": (309, 168),
    "sched_getaffinity": (204, 123),
    "sched_getparam": (143, 121),
    "sched_getscheduler": (145, 120),
    "sched_get_priority_max": (146, 125),
    "sched_get_priority_min": (147, 126),
}
# For a download only. Nothing waits for connections of others.
NETWORK: dict[str, Numbers] = {
    "connect": (42, 203),
    "bind": (49, 200),
    "sendto": (44, 206),
    "recvfrom": (45, 207),
    "sendmsg": (46, 211),
    "recvmsg": (47, 212),
    "sendmmsg": (307, 269),
    "recvmmsg": (299, 243),
    "getsockopt": (55, 209),
    "setsockopt": (54, 208),
    "getsockname": (51, 204),
    "getpeername": (52, 205),
    "shutdown": (48, 210),
}


@dataclass(frozen=True, slots=True)
class ArgumentCheck:
    """Half of an argument, of 32 bits, is one of `values` under a mask. Arguments count from 0."""

    argument: int
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF
    high: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """A call that is allowed if all conditions hold."""

    numbers: Numbers
    conditions: tuple[ArgumentCheck, ...]


_CLONE_THREAD, _OTHER_VIEWS = 0x10000, 0x7E022080  # no new namespace, no tracing
_READS, _TRUNCATE, _WRITES = 0, 0o1000, (1, 2)
_INTERNET = (2, 10, 16)  # IPv4, IPv6, and netlink, by which getaddrinfo lists the interfaces
_SHARED_OR_UNLOCK = (1, 5, 8, 12)
# FIONCLEX, FIOCLEX, TCGETS, TCGETS2, TIOCGWINSZ, FIONREAD, FIONBIO
_IOCTL = (0x5450, 0x5451, 0x5401, 0x802C542A, 0x5413, 0x541B, 0x5421)
# F_DUPFD to F_SETFL, F_DUPFD_CLOEXEC, F_DUPFD_QUERY; not F_SETOWN, which signals other processes
_FCNTL = (0, 1, 2, 3, 4, 1030, 1027)
# Of names, dumps, rights, timers and huge pages, and on aarch64 of vectors and tagged addresses;
# not PR_SET_PDEATHSIG, which ends this process with its parent.
_PRCTL = (15, 16, 3, 21, 23, 30, 38, 39, 40, 41, 42, 50, 51, 54, 55, 56, 63, 64, 0x53564D41, 0x41555856)
_MADVISE = tuple(range(26))  # without those that damage pages for tests of the kernel


def rules(process: int, *, network: bool) -> Iterator[Rule]:
    """The calls that are allowed for some arguments. `process` is the id of this process."""
    yield Rule((56, 220), (ArgumentCheck(0, (_CLONE_THREAD,), _CLONE_THREAD | _OTHER_VIEWS),))
    yield Rule((234, 131), (ArgumentCheck(0, (process,)),))  # tgkill
    # prlimit64 without new limits, sched_setaffinity
    yield Rule((302, 261), (ArgumentCheck(0, (0, process)), ArgumentCheck(2, (0,)), ArgumentCheck(2, (0,), high=True)))
    yield Rule((203, 122), (ArgumentCheck(0, (0,)),))
    opened = (_READS, *_WRITES, *(_TRUNCATE | mode for mode in _WRITES))  # reading alone does not truncate
    yield Rule((2, None), (ArgumentCheck(1, opened, _TRUNCATE | 3),))
    yield Rule((257, 56), (ArgumentCheck(2, opened, _TRUNCATE | 3),))  # openat
    yield Rule((73, 32), (ArgumentCheck(1, _SHARED_OR_UNLOCK),))  # flock
    yield Rule((72, 25), (ArgumentCheck(1, _FCNTL),))
    yield Rule((16, 29), (ArgumentCheck(1, _IOCTL),))
    yield Rule((157, 167), (ArgumentCheck(0, _PRCTL),))
    yield Rule((28, 233), (ArgumentCheck(2, _MADVISE),))
    if network:
        yield Rule((41, 198), (ArgumentCheck(0, _INTERNET),))
    else:  # fails as without a network
        yield Rule((41, 198), (ArgumentCheck(0, ()),))
