"""Temporary files of killed processes are removed, those of running processes never."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hybrid_batch.data.storage import temporary_files
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.inference.model.atomic_directory import atomic_directory
from hybrid_batch.jobs.output.replaced_file import replaced_file
from tests.conftest import HANG_S

# Writers that stop in the middle of their work, with a line that says so.
WRITERS = {
    "part": """
import os, sys
from hybrid_batch.data.storage import local_storage
from hybrid_batch.data.storage.open_storage import open_storage

def stop(*_):
    print("in the middle", flush=True)
    sys.stdin.read()

local_storage.os.fsync = stop
open_storage(sys.argv[1]).write_once("part-00007.parquet", b"x")
""",
    "page": """
import sys
from pathlib import Path
from hybrid_batch.jobs.output.replaced_file import replaced_file

with replaced_file(Path(sys.argv[1]) / "page.html") as file:
    print("in the middle", flush=True)
    sys.stdin.read()
""",
    "bundle": """
import sys
from pathlib import Path
from hybrid_batch.inference.model.atomic_directory import atomic_directory

with atomic_directory(Path(sys.argv[1]) / "digits.bundle") as folder:
    (folder / "graph.pb").write_bytes(b"x")
    print("in the middle", flush=True)
    sys.stdin.read()
""",
}


def write_again(kind: str, folder: Path) -> None:
    """What the next process does, which cleans up."""
    if kind == "part":
        open_storage(str(folder)).replace("_SUCCESS", b"{}")
    elif kind == "page":
        with replaced_file(folder / "page.html") as file:
            file.write(b"page")
    else:
        for _ in range(2):  # a folder is cleaned up once the bundle exists
            with atomic_directory(folder / "digits.bundle") as new:
                (new / "graph.pb").write_bytes(b"y")


def start(kind: str, folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITERS[kind], str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "in the middle\n"
    return process


def hidden(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.startswith(".")]


def grow_old(path: Path, seconds: float = 3600) -> None:
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


@pytest.mark.parametrize("kind", WRITERS)
def test_the_file_of_a_killed_writer_is_removed_and_that_of_a_running_one_is_kept(tmp_path: Path, kind: str) -> None:
    killed, running = start(kind, tmp_path), start(kind, tmp_path)
    try:
        killed.kill()
        killed.wait(HANG_S)
        running.send_signal(signal.SIGSTOP)  # it does not have to be awake
        for path in hidden(tmp_path):
            grow_old(path)
        assert len(hidden(tmp_path)) == 2
        write_again(kind, tmp_path)
        assert len(hidden(tmp_path)) == 1
        running.send_signal(signal.SIGCONT)
        running.communicate("", HANG_S)
        assert running.returncode == 0
        assert hidden(tmp_path) == []
    finally:
        for process in (killed, running):
            process.kill()
            process.communicate(timeout=HANG_S)


def test_a_young_file_is_kept(tmp_path: Path) -> None:
    (tmp_path / f".tmp-{'0' * 16}").touch()
    write_again("part", tmp_path)
    assert len(hidden(tmp_path)) == 1


def test_a_file_system_without_locks_keeps_files_for_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(temporary_files.fcntl, "flock", refuse)
    for number, age_s in enumerate((60, 3600, 90_000)):
        path = tmp_path / f".tmp-{number:016x}"
        path.touch()
        grow_old(path, age_s)
    write_again("part", tmp_path)
    assert sorted(path.name[-1] for path in hidden(tmp_path)) == ["0", "1"]


def test_only_files_of_these_names_are_removed(tmp_path: Path) -> None:
    for name in (".tmp-1", ".tmp-notes", "tmp-0000000000000000", ".tmp-0000000000000000.png"):
        (tmp_path / name).touch()
        grow_old(tmp_path / name)
    target = tmp_path / "precious"
    target.touch()
    grow_old(target)
    (tmp_path / f".tmp-{'f' * 16}").symlink_to(target)
    write_again("part", tmp_path)
    assert len(list(tmp_path.iterdir())) == 7
