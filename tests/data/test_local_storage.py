"""Local folders: full disks, missing permissions, circular links and unusual names."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_batch.data.errors import StorageFailed
from hybrid_batch.data.storage.file_names import to_file_name, to_former_text, to_text
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.data.storage.storage import Unlisted

NOBODY = 65534


@pytest.fixture
def unprivileged(tmp_path: Path) -> Iterator[None]:
    """Run the test as the user `nobody`, because permissions do not restrict root."""
    if os.geteuid() != 0:
        yield
        return
    for folder in (tmp_path, *list(tmp_path.parents)[:4]):  # the depth of pytest's temporary folders
        folder.chmod(folder.stat().st_mode | 0o055)
    os.chown(tmp_path, NOBODY, NOBODY)
    os.seteuid(NOBODY)
    yield
    os.seteuid(0)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in open_storage(str(folder)).list_files())


def test_circular_links_end(tmp_path: Path) -> None:
    (tmp_path / "b" / "deep").mkdir(parents=True)
    (tmp_path / "b" / "deep" / "x.png").touch()
    (tmp_path / "b" / "deep" / "up").symlink_to(tmp_path)
    (tmp_path / "b" / "self").symlink_to("self")
    # A folder keeps its real name even if the link comes first in the alphabet.
    (tmp_path / "a").symlink_to(tmp_path / "b")
    assert names(tmp_path) == ["b/deep/x.png", "b/self"]


def test_linked_folders_and_files_are_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.png").write_bytes(b"xyz")
    (tmp_path / "root" / "sub").mkdir(parents=True)
    (tmp_path / "root" / "one").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "two").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "sub" / "file.png").symlink_to(tmp_path / "elsewhere" / "x.png")
    assert names(tmp_path / "root") == ["one/x.png", "sub/file.png"]
    assert {entry.size for entry in open_storage(str(tmp_path / "root")).list_files()} == {3}


def test_a_dangling_link_is_listed_but_not_readable(tmp_path: Path) -> None:
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    assert names(tmp_path) == ["gone.png"]
    with pytest.raises(FileNotFoundError):
        open_storage(str(tmp_path)).read("gone.png")


def test_pipes_are_neither_listed_nor_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert names(tmp_path) == []
    with pytest.raises(StorageFailed, match=r"pipe\.png: it is not a regular file; choose another\.$"):
        open_storage(str(tmp_path)).read("pipe.png")


def test_names_that_are_not_utf8_can_be_listed_and_read(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9")).mkdir()
    (tmp_path / os.fsdecode(b"caf\xe9") / os.fsdecode(b"\xff.png")).write_bytes(b"odd")
    assert names(tmp_path) == [r"caf\xe9/\xff.png"]
    assert open_storage(str(tmp_path)).read(r"caf\xe9/\xff.png") == b"odd"


def test_every_name_has_one_text_and_every_text_one_name(tmp_path: Path) -> None:
    """A byte that is not UTF-8, and text that reads like its escape, are different files."""
    odd = [
        b"bad\xff.png",
        rb"bad\xff.png",
        rb"bad\x5cxff.png",
        rb"bad\x5c.png",
        b"bad\\\xff",
        rb"a\x41",
        rb"tail\\",
        b"\\\\xff",
    ]
    for number, name in enumerate(odd):
        (tmp_path / os.fsdecode(name)).write_bytes(b"%d" % number)
    found = names(tmp_path)
    assert len(set(found)) == len(odd)
    storage = open_storage(str(tmp_path))
    assert {storage.read(name) for name in found} == {b"%d" % number for number in range(len(odd))}
    assert {os.fsencode(to_file_name(name)) for name in found} == set(odd)
    assert r"bad\xff.png" in found  # the byte, as in earlier logs
    assert r"a\x41" in found  # no escape


@given(st.binary(min_size=1, max_size=12).filter(lambda name: not {0, 47} & set(name)))
def test_names_survive_the_way_to_text_and_back(name: bytes) -> None:
    text = to_text(os.fsdecode(name))
    text.encode()
    assert os.fsencode(to_file_name(text)) == name


@given(st.lists(st.sampled_from([b"\\", b"x", b"5", b"c", b"f", b"\xff", "é".encode()]), max_size=12).map(b"".join))
def test_names_like_escapes_survive_too(name: bytes) -> None:
    assert os.fsencode(to_file_name(to_text(os.fsdecode(name)))) == name


def test_a_name_from_an_earlier_log_is_read_where_it_is_unambiguous(tmp_path: Path) -> None:
    (tmp_path / r"bad\xff.png").write_bytes(b"text")
    assert names(tmp_path) == [r"bad\x5cxff.png"]
    storage = open_storage(str(tmp_path))
    assert storage.read(r"bad\xff.png") == storage.read(r"bad\x5cxff.png") == b"text"
    assert to_former_text(r"bad\x5cxff.png") == r"bad\xff.png"


def test_folders_that_cannot_be_read_and_special_files_are_noted(tmp_path: Path, unprivileged: None) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "a.png").touch()
    (tmp_path / "open" / "secret").mkdir(mode=0o000)
    os.mkfifo(tmp_path / "pipe.png")
    unlisted = Unlisted()
    assert [entry.name for entry in open_storage(str(tmp_path)).list_files(unlisted=unlisted)] == ["open/a.png"]
    assert unlisted.special_files == 1
    (reason,) = unlisted.folders.values()
    assert list(unlisted.folders) == ["open/secret"]
    assert reason.startswith(f"Cannot list {tmp_path}/open/secret: permission denied")
    with pytest.raises(StorageFailed, match="permission denied"):  # nothing would be left
        list(open_storage(str(tmp_path / "open" / "secret")).list_files(unlisted=unlisted))
    (tmp_path / "open" / "secret").chmod(0o700)


def test_folders_and_files_without_permission_are_named(tmp_path: Path, unprivileged: None) -> None:
    storage = open_storage(str(tmp_path))
    (tmp_path / "secret").mkdir(mode=0o000)
    with pytest.raises(StorageFailed, match=r"Cannot list .*/secret: permission denied"):
        list(storage.list_files())
    with pytest.raises(StorageFailed, match=r"Cannot write .*/secret/x: permission denied"):
        storage.write_once("secret/x", b"")
    (tmp_path / "closed.png").touch(mode=0o000)
    with pytest.raises(StorageFailed, match=r"Cannot read .*/closed.png: permission denied"):
        storage.read("closed.png")
    (tmp_path / "secret").chmod(0o700)


def test_file_where_a_folder_is_needed(tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    with pytest.raises(
        StorageFailed, match=r"/log/part: a file or folder of another kind has that name; choose another folder\.$"
    ):
        open_storage(str(tmp_path / "log")).write_once("part", b"")
    with pytest.raises(
        StorageFailed, match=r"/log/run=1/part: a file has the name of a needed folder; choose another folder\.$"
    ):
        open_storage(str(tmp_path / "log")).write_once("run=1/part", b"")
    (tmp_path / "part").mkdir()
    with pytest.raises(
        StorageFailed, match=r"/part: a file or folder of another kind has that name; choose another folder\.$"
    ):
        open_storage(str(tmp_path)).write_once("part", b"")


def test_a_write_leaves_no_temporary_file(tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path))
    assert storage.write_once("part", b"1")
    assert not storage.write_once("part", b"2")
    assert names(tmp_path) == ["part"]


WRITE = (
    "from hybrid_batch.data.storage.open_storage import open_storage;"
    "open_storage('{}').write_once('part', b'x' * 1_000_000)"
)


def test_file_size_limit_leaves_nothing(tmp_path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); "
    program = [sys.executable, "-c", limit + WRITE.format(tmp_path)]
    result = subprocess.run(program, capture_output=True, text=True, check=False)
    assert f"StorageFailed: Cannot write {tmp_path}/part: the file would be larger" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_full_disk_leaves_nothing(tmp_path: Path) -> None:
    mount = f"mount -t tmpfs -o size=64k none {tmp_path}"
    own_mounts = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if not shutil.which("unshare") or subprocess.run([*own_mounts, mount], capture_output=True, check=False).returncode:
        pytest.skip("this system does not allow mounting a small file system")
    script = f'{mount} && "$0" -c "$1"; ls -A {tmp_path}'
    program = [*own_mounts, script, sys.executable, WRITE.format(tmp_path)]
    result = subprocess.run(program, capture_output=True, text=True, check=False)
    assert f"StorageFailed: Cannot write {tmp_path}/part: the disk is full" in result.stderr
    assert result.stdout == ""
