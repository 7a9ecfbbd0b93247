"""Ctrl-C during a job: one line, exit code 130, and no process left. Each job is a separate process."""

import os
import signal
import subprocess
from collections.abc import Callable
from tempfile import TemporaryFile
from time import sleep

import psutil
import pytest

from tests.conftest import COMMAND, HANG_S
from tests.factories.records import random_records, write_run

pytestmark = pytest.mark.slow

COMPARE = ("compare", "{0}", "{1}", "--engine")
EVALUATE = ("evaluate", "{0}", "--no-files", "--engine")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two runs with enough parts to keep every engine busy; all parts are the same file."""
    folders = [tmp_path_factory.mktemp("log") / "run=x" for _ in range(2)]
    for folder in folders:
        write_run(str(folder), random_records(2000, ["cat", "dog"]), 2000)
        for index in range(1, 10_000):
            (folder / f"part-{index:05d}.parquet").hardlink_to(folder / "part-00000.parquet")
    return [str(folder) for folder in folders]


def interrupted(command: list[str], begun: Callable[[list[str]], bool], group: bool) -> tuple[int, str]:
    """Exit code and standard error of a command, interrupted when `begun` is true of its processes' command lines.

    Fails if one of the processes is left.
    """
    environment = {name: value for name, value in os.environ.items() if name != "JAVA_HOME"}
    with (
        TemporaryFile() as errors,  # a pipe would stay open while a process is left
        subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
        ) as process,
    ):
        while process.poll() is None:
            children = psutil.Process(process.pid).children(recursive=True)
            if begun([line for child in children for line in _command(child)]):
                break
            sleep(0.05)
        (os.killpg if group else os.kill)(process.pid, signal.SIGINT)
        code = process.wait()
        _, left = psutil.wait_procs(children, timeout=HANG_S)
        for child in left:
            child.kill()
        assert not left
        errors.seek(0)
        return code, errors.read().decode()


def _command(process: psutil.Process) -> list[str]:
    try:
        return [" ".join(process.cmdline())]
    except psutil.NoSuchProcess:
        return []


def counting(commands: list[str]) -> bool:
    return any("pyspark.daemon" in command for command in commands)


def starting(commands: list[str]) -> bool:
    return any("SparkSubmit" in command for command in commands)


@pytest.mark.parametrize("command", [EVALUATE, COMPARE], ids=["evaluate", "compare"])
@pytest.mark.parametrize(
    ("begun", "group"), [(counting, True), (counting, False), (starting, True)], ids=["terminal", "kill", "early"]
)
def test_spark(command: tuple[str, ...], begun: Callable[[list[str]], bool], group: bool, runs: list[str]) -> None:
    code, errors = interrupted([*COMMAND, *(word.format(*runs) for word in command), "spark"], begun, group)
    *notes, last = errors.split("\n\n")
    assert (code, last) == (130, "hybrid-batch: Interrupted.\n"), errors
    assert all(line.startswith("Note: ") for note in notes for line in note.splitlines()), errors
