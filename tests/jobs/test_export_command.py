"""`hybrid-batch export`: each format, read back by another program."""

import io
import json
import subprocess
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from hybrid_batch.cli import main
from hybrid_batch.data.log.records import SCHEMA, SCHEMA_VERSION
from hybrid_batch.data.log.runs import RunFolder
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.jobs.output.export import FORMATS
from tests.conftest import COMMAND
from tests.factories.records import random_records, record, write_run
from tests.factories.version_1 import write_run_1

RECORDS = [
    record(image='a/1,"x".png', label="ä", prediction="b", confidence=0.5, width=40, height=30),
    record(image="b/2.png", label=None, prediction="ä", confidence=0.25, width=None, height=None),
    record(image="b/bad.png", label="c", prediction=None, confidence=None, top5=None, error="no known image format"),
    *random_records(20, ["ä", "b", "c"]),
]


@pytest.fixture(params=["local", "s3"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    uri = str(tmp_path / "log") if request.param == "local" else f"s3://{request.getfixturevalue('bucket')}/log"
    write_run(f"{uri}/run=one", RECORDS, 6)
    return f"{uri}/run=one"


def export(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["export", *map(str, arguments)]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    return printed.out


def test_csv(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    frame = pd.read_csv(io.StringIO(export(capsys, run)), keep_default_na=False, na_values=[""])
    assert list(frame.columns) == SCHEMA.names
    assert list(frame["image"]) == [entry.image for entry in RECORDS]
    assert json.loads(frame["top5"][0]) == [{"label": "a", "score": 0.75}, {"label": "b", "score": 0.25}]
    assert frame["error"][2] == "no known image format"
    assert frame["label"].isna().sum() == sum(entry.label is None for entry in RECORDS)
    assert pd.to_datetime(frame["started_at"])[0] == RECORDS[0].started_at
    assert frame["latency_us"].sum() == sum(entry.latency_us for entry in RECORDS)


def test_jsonl(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [json.loads(line) for line in export(capsys, run, "--format", "jsonl").splitlines()]
    assert [row["image"] for row in rows] == [entry.image for entry in RECORDS]
    assert list(rows[0]) == SCHEMA.names
    assert rows[0]["label"] == "ä"
    assert rows[0]["started_at"] == "2026-01-01T00:00:00+00:00"
    assert rows[2]["prediction"] is None


def test_parquet(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "new" / "all.parquet"
    assert export(capsys, run, "--output", target) == f"{target}\n"
    assert pq.ParquetFile(target).read().to_pylist() == RunFolder(open_storage(run)).records().to_pylist()
    assert pq.read_schema(target).metadata[b"hybrid_batch.schema"] == b"%d" % SCHEMA_VERSION
    assert main(["export", run, "--format", "parquet"]) == 2
    assert "not text; give --output FILE" in capsys.readouterr().err


def test_coco(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    coco = json.loads(export(capsys, run, "--format", "coco"))
    assert [image["file_name"] for image in coco["images"]] == [entry.image for entry in RECORDS]
    assert [image["id"] for image in coco["images"]] == list(range(1, len(RECORDS) + 1))
    categories = {category["id"]: category["name"] for category in coco["categories"]}
    assert categories == {1: "b", 2: "c", 3: "ä"}
    first, second, *_ = coco["annotations"]
    assert first == {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "score": 0.5,
        "iscrowd": 0,
        "bbox": [0, 0, 40, 30],
        "area": 1200,
        "true_category_id": 3,
    }
    assert second == {"id": 2, "image_id": 2, "category_id": 3, "score": 0.25, "iscrowd": 0}
    assert coco["images"][2]["error"] == "no known image format"
    classified = [number for number, entry in enumerate(RECORDS, start=1) if entry.prediction is not None]
    assert [annotation["image_id"] for annotation in coco["annotations"]] == classified


def test_the_format_follows_from_the_suffix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(str(tmp_path / "run=one"), RECORDS, 6)
    for name, beginning in (
        ("x.jsonl", b'{"image"'),
        ("x.json", b'{"info"'),
        ("x.csv", b'"image"'),
        ("x.parquet", b"PAR1"),
    ):
        export(capsys, tmp_path, "--output", tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(beginning), name


def test_a_run_of_version_1_is_exported_with_the_columns_of_today(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run_1(tmp_path / "run=old", RECORDS, 6)
    (first, *_) = (json.loads(line) for line in export(capsys, tmp_path, "--format", "jsonl").splitlines())
    assert list(first) == SCHEMA.names
    assert (first["cut_bytes"], first["sent_bytes"], first["width"]) == (100, 0, None)


@pytest.mark.parametrize(
    ("shard_size", "records", "named"), [(6, 18, "3 finished shards"), (12, 12, "1 finished shard")]
)
def test_an_unfinished_run_is_exported_with_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], shard_size: int, records: int, named: str
) -> None:
    write_run(str(tmp_path / "run=one"), RECORDS, shard_size, finished=False)
    assert main(["export", str(tmp_path), "--format", "jsonl"]) == 0
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == records
    assert printed.err == f"Note: {tmp_path}/run=one is unfinished; only the records of its {named} are exported.\n"


def test_an_earlier_file_is_kept_until_the_new_one_is_complete(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_run(str(tmp_path / "run=one"), RECORDS, 6)
    target = tmp_path / "x.csv"
    target.write_text("before")
    (tmp_path / "run=one" / "part-00002.parquet").write_bytes(b"damaged")
    assert main(["export", folder.uri, "--output", str(target)]) == 2
    assert "part-00002.parquet is not a readable Parquet file" in capsys.readouterr().err
    assert target.read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run=one", "x.csv"]


def test_a_reader_that_closes_the_output_ends_the_export_without_a_message(tmp_path: Path) -> None:
    write_run(str(tmp_path / "run=one"), RECORDS * 100, 1000)
    command = [*COMMAND, "export", str(tmp_path), "--format", "jsonl"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b'{"image"')
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.parametrize("name", FORMATS)
def test_the_memory_does_not_grow_with_the_run(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's objects for one batch at a time: 60,000 records as objects take over 100 MB."""
    records = random_records(2000, ["a", "b"])
    folder = write_run(str(tmp_path / "run=one"), records * 30, 30_000)
    monkeypatch.setattr(RunFolder.iter_records, "__defaults__", (500,))
    with (tmp_path / "out").open("wb") as out:
        tracemalloc.start()
        FORMATS[name](folder, out)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 8_000_000


@pytest.mark.parametrize("format_name", ["csv", "jsonl", "coco"])
def test_scores_have_the_digits_of_a_float32(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], format_name: str
) -> None:
    scored = replace(RECORDS[0], confidence=0.6564761, top5=((str(RECORDS[0].prediction), 0.6564761),))
    write_run(str(tmp_path / "run=one"), [scored], 6)
    text = export(capsys, tmp_path, "--format", format_name)
    assert "0.6564761" in text
    assert "0.656476080" not in text


def test_a_full_device_is_reported_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(str(tmp_path / "run=one"), RECORDS, 6)
    assert main(["export", str(tmp_path), "--output", "/dev/full", "--format", "jsonl"]) == 1
    message = "hybrid-batch: Cannot write /dev/full: No space left on device; choose another file.\n"
    assert capsys.readouterr().err == message
