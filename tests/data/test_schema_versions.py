from dataclasses import fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hybrid_batch.data.errors import NotARun
from hybrid_batch.data.log.records import SCHEMA, STAGES, WAITS, Record, to_table
from hybrid_batch.data.log.runs import find_runs
from hybrid_batch.data.log.schema_versions import schema_version, upgrade
from hybrid_batch.data.storage.open_storage import open_storage
from tests.factories.records import record, write_run
from tests.factories.version_1 import SCHEMA_1, to_table_1, write_run_1

ADDED = [name for name in SCHEMA.names if name not in SCHEMA_1.names]
RECORDS = [
    record(image="1.png", tail="local", sent_bytes=700, received_bytes=70),
    record(image="2.png", tail="http://tail", sent_bytes=500, received_bytes=50),
    record(image="3.png", tail="local", cut="local", codec="none", sent_bytes=0, received_bytes=0),
]


def test_the_record_has_the_columns_of_the_schema_in_order() -> None:
    assert [field.name for field in fields(Record)] == SCHEMA.names
    times = [f"{name}_us" for name in (*STAGES[:-1], *WAITS, STAGES[-1])]
    assert SCHEMA.names[-13:] == [*times, "started_at", "error"]
    assert [name for name in SCHEMA.names if name in SCHEMA_1.names] == SCHEMA_1.names
    assert "run" not in SCHEMA.names  # the partition column of the folders run=ID


def test_version_1_gains_the_columns_of_version_2_and_moves_the_bytes_that_no_network_carried() -> None:
    old = to_table_1(RECORDS)
    table = upgrade(old)
    assert table.schema.equals(SCHEMA, check_metadata=True)
    assert table["cut_bytes"].to_pylist() == [700, 500, 0]
    assert table["sent_bytes"].to_pylist() == [0, 500, 0]
    assert table["received_bytes"].to_pylist() == [0, 50, 0]
    for name in ADDED:
        if name != "cut_bytes":
            assert table[name].null_count == 3, name
    for name in SCHEMA_1.names:
        if name not in ("sent_bytes", "received_bytes"):
            assert table[name].equals(old[name]), name


def test_batches_and_selections_of_columns_are_upgraded() -> None:
    (batch,) = to_table_1(RECORDS).select(["tail", "sent_bytes", "image"]).to_batches()
    upgraded = upgrade(batch)
    assert isinstance(upgraded, pa.RecordBatch)
    assert upgraded["sent_bytes"].to_pylist() == [0, 500, 0]
    assert upgraded["cut_bytes"].to_pylist() == [700, 500, 0]
    assert [name for name in upgraded.schema.names if name in batch.schema.names] == ["image", "tail", "sent_bytes"]
    assert upgrade(to_table_1(RECORDS).select(["image"]))["image"].to_pylist() == ["1.png", "2.png", "3.png"]


def test_the_current_version_is_unchanged() -> None:
    table = to_table(RECORDS)
    assert upgrade(table) is table
    selected = table.select(["tail", "sent_bytes"])
    assert upgrade(selected) is selected


def test_records_without_metadata_are_recognised_by_their_columns() -> None:
    assert schema_version(to_table_1(RECORDS).replace_schema_metadata(None).schema) == "1"
    assert schema_version(to_table(RECORDS).replace_schema_metadata(None).schema) == "3"
    assert schema_version(to_table_2(RECORDS).replace_schema_metadata(None).schema) == "2"


def to_table_2(records: list[Record]) -> pa.Table:
    """The records as version 2 had them."""
    return to_table(records).drop_columns(["image_hash"]).replace_schema_metadata({"hybrid_batch.schema": "2"})


def test_version_2_gains_a_null_hash_and_keeps_its_bytes() -> None:
    table = upgrade(to_table_2(RECORDS))
    assert table.schema.equals(SCHEMA, check_metadata=True)
    assert table["image_hash"].null_count == 3
    assert table["sent_bytes"].to_pylist() == [700, 500, 0]


def test_a_run_of_version_1_is_listed_and_read(tmp_path: Path) -> None:
    run = write_run_1(tmp_path / "run=old", RECORDS, 2)
    assert [found.run_id for found in find_runs(open_storage(str(tmp_path)))] == ["old"]
    assert run.images()["image"].to_pylist() == ["1.png", "2.png", "3.png"]
    assert run.read_part(0).schema.equals(SCHEMA)
    assert run.read_part(0).schema.metadata == SCHEMA.metadata
    assert run.records()["cut_bytes"].to_pylist() == [700, 500, 0]


def test_a_run_of_version_1_keeps_its_list_of_images(tmp_path: Path) -> None:
    run = write_run_1(tmp_path / "run=old", RECORDS, 2, finished=False)
    images = run.images()
    assert run.freeze_images(images.slice(0, 1)).equals(images)
    assert sorted(path.name for path in (tmp_path / "run=old").iterdir()) == [
        "_images.parquet",
        "_run.json",
        "part-00000.parquet",
    ]


def test_parts_of_both_versions_are_one_table(tmp_path: Path) -> None:
    run = write_run_1(tmp_path / "run=old", RECORDS, 2, finished=False)
    run.commit(1, to_table(RECORDS[2:]))
    assert run.records()["image"].to_pylist() == ["1.png", "2.png", "3.png"]


def test_a_later_version_is_refused(tmp_path: Path) -> None:
    run = write_run(str(tmp_path / "run=new"), RECORDS, 3)
    part = tmp_path / "run=new" / "part-00000.parquet"
    pq.write_table(pq.ParquetFile(part).read().replace_schema_metadata({"hybrid_batch.schema": "4"}), part)
    with pytest.raises(NotARun, match=r"00.parquet have schema version 4, and this hybrid-batch reads versions 1"):
        run.read_part(0)
