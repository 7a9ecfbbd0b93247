"""The filter of system calls: its instructions allow what is listed, on both architectures, and nothing else."""

import re
from pathlib import Path

import pytest

from hybrid_batch.inference.model.importing.sandbox import seccomp
from hybrid_batch.inference.model.importing.sandbox.system_calls import ALLOWED, NETWORK, Rule, rules

PROCESS = 1234
ALLOW, NOT_PERMITTED, NO_SUCH_CALL, KILL = 0x7FFF0000, 0x50001, 0x50026, 0x80000000
HEADERS = (Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), Path("/usr/include/asm-generic/unistd.h"))


def run_filter(column: int, number: int, arguments: tuple[int, ...] = (), *, network: bool = False) -> int:
    """The action of the filter, by a machine for its instructions."""
    architecture = dict(seccomp._ARCHITECTURES.values())[column]
    words = [number, architecture, 0, 0]
    for argument in (*arguments, *(0,) * (6 - len(arguments))):
        words += [argument & 0xFFFFFFFF, argument >> 32 & 0xFFFFFFFF]
    program = list(seccomp._instructions(column, architecture, PROCESS, network=network))
    assert len(program) < 4096
    position = value = 0
    while True:
        code, true, false, constant = program[position]
        position += 1
        if code == 0x20:
            value = words[constant // 4]
        elif code == 0x54:
            value &= constant
        elif code == 0x15:
            position += true if value == constant else false
        else:
            return constant


@pytest.mark.parametrize("column", [0, 1], ids=["x86_64", "aarch64"])
@pytest.mark.parametrize("network", [False, True])
def test_what_is_not_listed_fails_as_on_an_older_kernel(column: int, network: bool) -> None:
    allowed = {numbers[column] for numbers in (ALLOWED | NETWORK if network else ALLOWED).values()}
    filtered = {rule.numbers[column] for rule in rules(PROCESS, network=network)}
    assert not (allowed & filtered) - {None}
    for number in range(600):
        found = run_filter(column, number, network=network)
        if number in filtered:
            assert found in (ALLOW, NOT_PERMITTED)
        else:
            assert found == (ALLOW if number in allowed else NO_SUCH_CALL)


@pytest.mark.parametrize("column", [0, 1], ids=["x86_64", "aarch64"])
@pytest.mark.parametrize(
    ("numbers", "allowed", "refused"),
    [
        ((56, 220), [(0x3D0F00,)], [(17,), (0x3D0F00 | 1 << 28,), (0x4000,)]),  # clone: of a thread only
        ((234, 131), [(PROCESS, 5, 6)], [(1, 1, 9), (-1, 1, 9)]),  # tgkill
        ((302, 261), [(0, 7), (PROCESS, 7)], [(1, 7), (0, 7, 1 << 40), (0, 7, 4096)]),  # prlimit64
        ((203, 122), [(0, 8)], [(1, 8)]),  # sched_setaffinity
        ((257, 56), [(0, 0, 0o2000000), (0, 0, 0o1101)], [(0, 0, 0o1000), (0, 0, 0o1003)]),  # openat
        ((73, 32), [(3, 5)], [(3, 2), (3, 6)]),  # flock
        ((72, 25), [(3, 1030)], [(3, 8), (3, 15), (3, 1033)]),  # fcntl
        ((16, 29), [(3, 0x5413)], [(3, 0x5412), (3, 0x40086602)]),  # ioctl: neither TIOCSTI nor attributes
        ((157, 167), [(15,)], [(1,), (22,), (35,)]),  # prctl
        ((28, 233), [(0, 0, 4)], [(0, 0, 100)]),  # madvise
        ((41, 198), [], [(1, 1), (2, 1), (17, 3)]),  # socket
    ],
)
def test_arguments_are_listed(
    column: int, numbers: tuple[int, int], allowed: list[tuple[int, ...]], refused: list[tuple[int, ...]]
) -> None:
    assert {run_filter(column, numbers[column], arguments) for arguments in allowed} <= {ALLOW}
    assert {run_filter(column, numbers[column], arguments) for arguments in refused} == {NOT_PERMITTED}


def test_calls_of_another_architecture_end_the_process() -> None:
    program = list(seccomp._instructions(0, 1, PROCESS, network=False))
    assert program[1:3] == [(0x15, 1, 0, 1), (0x06, 0, 0, KILL)]


@pytest.mark.parametrize("column", [0, 1], ids=["x86_64", "aarch64"])
def test_numbers_are_those_of_the_kernel(column: int) -> None:
    if not HEADERS[column].exists():
        pytest.skip("this system has no headers of the kernel")
    found = re.findall(r"#define __NR(?:3264)?_(\w+) (\d+)", HEADERS[column].read_text())
    stated = {"newfstatat" if name == "fstatat" else name: int(number) for name, number in reversed(found)}
    for name, numbers in (ALLOWED | NETWORK).items():
        assert numbers[column] == stated.get(name), name
    known = {56: "clone", 234: "tgkill", 302: "prlimit64", 203: "sched_setaffinity", 2: "open", 257: "openat"}
    known |= {73: "flock", 72: "fcntl", 16: "ioctl", 157: "prctl", 28: "madvise", 41: "socket"}

    def is_right(rule: Rule) -> bool:
        return rule.numbers[column] == stated.get(known[rule.numbers[0] or 0])

    assert all(map(is_right, rules(PROCESS, network=True)))
