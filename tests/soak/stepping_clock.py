"""A wall clock that steps back and forth under a running process, as NTP and virtual machines step it."""

import shutil
import struct
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from random import Random

COMPILER = shutil.which("cc")  # without one no clock steps
_STEPS_S = (-3600, 0, -86400, 7200, -1, 0)


@cache
def library() -> Path:
    """The compiled library that a process preloads."""
    assert COMPILER is not None
    folder = Path(tempfile.mkdtemp(prefix="stepping-clock-"))
    source, built = Path(__file__).with_name("stepping_clock.c"), folder / "stepping_clock.so"
    subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-o", str(built), str(source)], check=True)
    return built


@contextmanager
def stepping_clock(chance: Random, on_step: Callable[[int], None]) -> Iterator[Mapping[str, str]]:
    """Yield the environment of processes whose wall clock steps by up to a day until the block ends. `on_step` gets the
    seconds that the clock is ahead of the true time."""
    with tempfile.NamedTemporaryFile(prefix="clock-") as file:
        offset = Path(file.name)
        offset.write_bytes(struct.pack("=q", 0))
        over = threading.Event()

        def step() -> None:
            for seconds in _STEPS_S * 4:
                if over.wait(chance.uniform(0.1, 0.5)):
                    return
                with offset.open("r+b") as mapped:
                    mapped.write(struct.pack("=q", seconds))
                on_step(seconds)

        stepping = threading.Thread(target=step)
        stepping.start()
        try:
            yield {"LD_PRELOAD": str(library()), "CLOCK_OFFSET_FILE": str(offset)}
        finally:
            over.set()
            stepping.join()
