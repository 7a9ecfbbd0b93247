import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_batch.data.errors import NotARun
from hybrid_batch.data.images.images import IMAGES_SCHEMA
from hybrid_batch.data.log.records import SCHEMA, to_table
from hybrid_batch.data.log.runs import RunFolder, find_runs, run_folder, shards
from hybrid_batch.data.storage.open_storage import open_storage
from tests.factories.records import PLAIN

RECORD = replace(PLAIN, image="a.png", started_at=datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC))
IMAGES = pa.table([["a.png", "b.png"], [None, "1"], [1, 2]], schema=IMAGES_SCHEMA)


@pytest.fixture(params=["local", "s3"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "log") if request.param == "local" else f"s3://{request.getfixturevalue('bucket')}/log"


@pytest.fixture
def run(log: str) -> RunFolder:
    return run_folder(open_storage(log), "one")


def test_a_run_from_start_to_end(run: RunFolder, log: str) -> None:
    settings = {"model": "digits", "shard_size": 1, "nested": {"é": [1, 2.5, None]}}
    assert run.uri == f"{log}/run=one"
    assert run.create(settings) == settings
    assert run.freeze_images(IMAGES).equals(IMAGES)
    assert run.parts() == {}
    records = to_table([RECORD, replace(RECORD, image="b.png", prediction=None, top5=None, error="broken")])
    assert run.commit(1, records)
    assert run.commit(0, records.slice(0, 1))
    assert run.parts() == {0: "part-00000.parquet", 1: "part-00001.parquet"}
    assert run.read_part(1).equals(records)
    assert run.read_part(1).schema.equals(SCHEMA)
    assert run.read_part(1).schema.metadata == SCHEMA.metadata
    assert run.totals() is None
    run.mark_complete({"images": 2})
    assert run.totals() == {"images": 2}


def test_existing_files_are_kept(run: RunFolder) -> None:
    assert run.create({"model": "a"}) == {"model": "a"}
    assert run.create({"model": "b"}) == {"model": "a"}
    run.freeze_images(IMAGES)
    assert run.freeze_images(IMAGES.slice(0, 1)).equals(IMAGES)
    first, second = to_table([RECORD]), to_table([replace(RECORD, image="other.png")])
    assert run.commit(0, first)
    assert not run.commit(0, second)
    assert run.read_part(0).equals(first)


def test_the_last_totals_are_kept(run: RunFolder) -> None:
    run.mark_complete({"images": 1})
    run.mark_complete({"images": 2})
    assert run.totals() == {"images": 2}


def test_parts_are_not_confused_with_other_files(run: RunFolder) -> None:
    for name in ("part-00003.parquet", "part-123456.parquet"):
        run.storage.write_once(name, b"")
    for name in ("part-3.parquet", "part-00004.parquet.tmp", "part-00005.csv", "sub/part-00006.parquet", ".tmp-1"):
        run.storage.write_once(name, b"")
    assert run.parts() == {3: "part-00003.parquet", 123456: "part-123456.parquet"}


def test_other_readers_see_the_parts_as_one_table(tmp_path: Path) -> None:
    run = run_folder(open_storage(str(tmp_path)), "one")
    run.create({})
    run.freeze_images(IMAGES)
    for index in range(3):
        run.commit(index, to_table([RECORD]))
    run.mark_complete({})
    table = pq.read_table(tmp_path / "run=one", partitioning=None)
    assert table.schema.names == SCHEMA.names
    assert table.num_rows == 3
    column = pq.ParquetFile(tmp_path / "run=one" / "part-00000.parquet").metadata.row_group(0).column(0)
    assert column.compression == "ZSTD"


def test_runs_are_found(log: str) -> None:
    storage = open_storage(log)
    for name in ("b", "a"):
        run_folder(storage, name).create({"name": name})
        run_folder(storage, name).commit(0, to_table([RECORD]))
    run_folder(storage, "not-yet").commit(0, to_table([RECORD]))
    storage.write_once("other/_run.json", b"{}")
    storage.write_once("run=c/run=nested/_run.json", b"{}")
    runs = find_runs(storage)
    assert [run.uri for run in runs] == [f"{log}/run=a", f"{log}/run=b"]
    assert [run.settings() for run in runs] == [{"name": "a"}, {"name": "b"}]


def test_an_empty_folder_has_no_runs(log: str) -> None:
    assert find_runs(open_storage(log)) == []


def test_missing_files_are_named(run: RunFolder) -> None:
    with pytest.raises(NotARun, match=r"run=one contains no run: _run.json is missing"):
        run.settings()
    with pytest.raises(NotARun, match=r"run=one has no _images.pq"):
        run.images()
    with pytest.raises(NotARun, match=r"run=one has no part-00007.parquet"):
        run.read_part(7)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b'{"format": 99}', b"{}"])
def test_damaged_settings_are_named(run: RunFolder, content: bytes) -> None:
    run.storage.write_once("_run.json", content)
    with pytest.raises(NotARun, match=r"run=one") as caught:
        run.settings()
    assert "\n" not in str(caught.value)


def test_damaged_tables_are_named(run: RunFolder) -> None:
    run.commit(0, to_table([RECORD]))
    whole = run.storage.read("part-00000.parquet")
    broken = [b"", b"no parquet at all", whole[:-1], whole[:100], whole[: len(whole) // 2] + whole[-200:]]
    for index, content in enumerate(broken, start=1):
        run.storage.write_once(f"part-{index:05}.parquet", content)
        with pytest.raises(NotARun, match=rf"part-{index:05}.parquet is not a readable Parquet file") as caught:
            run.read_part(index)
        assert "\n" not in str(caught.value)


def test_images_with_other_columns_are_rejected(run: RunFolder) -> None:
    run.storage.write_once("_images.pq", b"")
    with pytest.raises(NotARun, match=r"_images.pq is not a readable"):
        run.images()
    other = RunFolder(run.storage.child("other"))
    other.commit(0, pa.table({"x": [1]}))
    other.storage.write_once("_images.pq", other.storage.read("part-00000.parquet"))
    with pytest.raises(NotARun, match=r"_images.pq is refused: it has no column image"):
        other.images()


def test_two_runners_agree(run: RunFolder) -> None:
    start, results = threading.Barrier(2), []

    def claim(name: str) -> None:
        start.wait()
        results.append(run.create({"name": name}))

    threads = [threading.Thread(target=claim, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results[0] == results[1]


@given(st.integers(0, 5_000), st.integers(1, 700))
def test_shards_cover_every_image_once_in_order(images: int, size: int) -> None:
    parts = list(shards(images, size))
    assert [index for index, _ in parts] == list(range(-(-images // size)))
    assert [position for _, positions in parts for position in positions] == list(range(images))
    assert all(len(positions) == size for _, positions in parts[:-1])
    assert all(0 < len(positions) <= size for _, positions in parts)
