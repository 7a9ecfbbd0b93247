"""The guarantees of every storage."""

import multiprocessing
import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hybrid_batch.data.errors import TooLarge, WrongUsage
from hybrid_batch.data.storage.open_storage import open_file, open_storage
from hybrid_batch.data.storage.storage import Storage

pytestmark = pytest.mark.slow


@pytest.fixture(params=["local", "file", "ministack", "rclone"])
def uri(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty folder in each storage."""
    if request.param == "local":
        return str(tmp_path / "log")
    if request.param == "file":
        return f"file://{tmp_path}/a%20log"
    if request.param == "rclone":
        request.getfixturevalue("aws")
        monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("rclone"))
        import boto3

        name = f"test-{uuid.uuid4()}"
        boto3.client("s3").create_bucket(Bucket=name)
        return f"s3://{name}/log"
    return f"s3://{request.getfixturevalue('bucket')}/log"


# rclone ignores If-None-Match, like some other S3 servers: a second write replaces the first.
conditional = pytest.mark.parametrize("uri", ["local", "file", "ministack"], indirect=True)


@pytest.fixture
def storage(uri: str) -> Storage:
    return open_storage(uri)


def test_written_bytes_are_read(storage: Storage) -> None:
    data = os.urandom(300_000)
    assert storage.write_once("a/b/part-0.parquet", data)
    assert storage.read("a/b/part-0.parquet") == data
    assert storage.child("a").child("b/").read("part-0.parquet") == data
    assert storage.write_once("empty", b"")
    assert storage.read("empty", limit=0) == b""


@conditional
def test_a_second_write_once_changes_nothing(storage: Storage) -> None:
    assert storage.write_once("part", b"first")
    assert not storage.write_once("part", b"second")
    assert storage.read("part") == b"first"


def test_a_replaced_file_is_the_last_one_written(storage: Storage) -> None:
    assert storage.write_once("a/report", b"first and longer")
    for data in (b"second", b"", os.urandom(300_000)):
        storage.replace("a/report", data)
        assert storage.read("a/report") == data
    assert [entry.name for entry in storage.list_files()] == ["a/report"]


def test_replace_is_atomic(storage: Storage) -> None:
    written = [bytes([letter]) * 200_000 for letter in b"abcdefgh"]
    storage.replace("report", written[0])
    with ThreadPoolExecutor(4) as pool:
        writing = [pool.submit(storage.replace, "report", data) for data in written]
        while not all(one.done() for one in writing):
            assert storage.read("report") in written
        for one in writing:
            one.result()
    assert storage.read("report") in written


def test_a_file_is_read_at_any_position(storage: Storage) -> None:
    data = os.urandom(300_000)
    storage.write_once("a/part", data)
    with storage.open_input_file("a/part") as file:
        assert file.size() == len(data)
        file.seek(200_000)
        assert file.read(1000) == data[200_000:201_000]
        file.seek(0)
        assert file.read() == data
    with pytest.raises(FileNotFoundError):
        storage.open_input_file("absent")


def test_unusual_names(storage: Storage) -> None:
    names = ["run=é è/a b+c%20&=?#.png", "deep/" * 20 + "x", "\u732b.jpg", "back\\x41slash"]
    for name in names:
        assert storage.write_once(name, name.encode())
    assert sorted(entry.name for entry in storage.list_files()) == sorted(names)
    assert all(storage.read(name) == name.encode() for name in names)


def test_missing_file(storage: Storage) -> None:
    storage.write_once("present", b"")
    for name in ("absent", "present/below", "no/such/folder"):
        with pytest.raises(FileNotFoundError, match=name):
            storage.read(name)


def test_an_empty_folder_lists_nothing(storage: Storage) -> None:
    assert list(storage.list_files()) == []


def test_entries_are_recursive_and_follow_the_prefix(storage: Storage) -> None:
    sizes = {"run=a/part-1": 1, "run=a/part-2": 2, "run=ab/part-1": 3, "run=b/deep/part-1": 4, "top": 5}
    for name, size in sizes.items():
        storage.write_once(name, b"x" * size)

    def found(prefix: str) -> dict[str, int]:
        return {entry.name: entry.size for entry in storage.list_files(prefix)}

    assert found("") == sizes
    for prefix in (
        "run=a",
        "run=a/",
        "run=a/part-2",
        "run=b/de",
        "to",
        "nothing",
        "run=c/",
        "run=b/deep/part-1",
    ):
        assert found(prefix) == {name: size for name, size in sizes.items() if name.startswith(prefix)}, prefix
    assert {entry.name for entry in storage.child("run=a").list_files("part")} == {"part-1", "part-2"}


def test_more_than_a_thousand_files(storage: Storage) -> None:
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda index: storage.write_once(f"{index:04}", b""), range(1_100)))
    assert {entry.name for entry in storage.list_files()} == {f"{index:04}" for index in range(1_100)}


def test_the_limit_is_checked_before_reading(storage: Storage) -> None:
    storage.write_once("big", b"x" * 1_001)
    with pytest.raises(TooLarge, match="big has 1001 bytes; at most 1000 are allowed"):
        storage.read("big", limit=1_000)
    assert len(storage.read("big", limit=1_001)) == 1_001


def _write(task: tuple[str, str, int]) -> bool:
    uri, name, index = task
    return open_storage(uri).write_once(name, b"%d" % index * 10_000)


@conditional
def test_one_of_many_threads_writes(storage: Storage, uri: str) -> None:
    for attempt in range(10):
        name = f"part-{attempt}"
        with ThreadPoolExecutor(8) as threads:
            wins = list(
                threads.map(lambda index, name=name: storage.write_once(name, b"%d" % index * 10_000), range(8))
            )
        assert wins.count(True) == 1
        assert storage.read(name) == b"%d" % wins.index(True) * 10_000


@conditional
def test_one_of_many_processes_writes(storage: Storage, uri: str) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as processes:
        for attempt in range(5):
            name = f"part-{attempt}"
            wins = processes.map(_write, [(uri, name, index) for index in range(4)], chunksize=1)
            assert wins.count(True) == 1
            assert storage.read(name) == b"%d" % wins.index(True) * 10_000


def test_the_uri_is_kept_as_given(tmp_path: Path, aws: str) -> None:
    for uri in ("some/folder", str(tmp_path), f"file://{tmp_path}", "s3://bucket", "s3://bucket/some/prefix"):
        assert open_storage(uri).uri == uri
        assert open_storage(uri).child("run=1").uri == f"{uri}/run=1"
    assert open_storage("s3://bucket/prefix/").child("a").uri == "s3://bucket/prefix/a"
    assert open_storage("/").child("a").uri == "/a"


@pytest.mark.parametrize("uri", ["gs://bucket/x", "http://host/x", "s3:///key", "file://elsewhere/x"])
def test_other_uris_are_rejected(uri: str) -> None:
    with pytest.raises(WrongUsage, match=uri):
        open_storage(uri)


def test_a_file_is_opened_by_its_uri(uri: str) -> None:
    open_storage(uri).write_once("a b.png", b"pixels")
    for written in (f"{uri}/a b.png", *([f"{uri}/a%20b.png"] if uri.startswith("file:") else [])):
        storage, name = open_file(written)
        assert storage.read(name) == b"pixels"


def test_a_file_is_opened_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.csv").write_bytes(b"image,label\n")
    storage, name = open_file("labels.csv")
    assert storage.read(name) == b"image,label\n"
