"""`run --verify-images` notices an image that was replaced by one of equal name and size."""

import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from hybrid_batch.cli import main
from tests.conftest import HANG_S, ROOT
from tests.run_logs import read_records
from tests.self_kill import self_kill

IMAGES = sorted((ROOT / "data" / "digits" / "images").rglob("*.png"))[:12]


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    (tmp_path / "images").mkdir()
    for number, image in enumerate(IMAGES):
        shutil.copy(image, tmp_path / "images" / f"{number:02}.png")
    paths = [str(tmp_path / "images"), "--log", str(tmp_path / "log")]
    return ["run", *paths, "--split", "local", "--shard-size", "4", "--batch-size", "4"]


def replace_image(path: Path) -> None:
    """Other content of equal size: the last pixels of the file, before its end."""
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_each_record_has_the_hash_of_its_file(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "images" / "03.png").write_bytes(b"no image")
    assert main(command) == 0
    for record in read_records(tmp_path / "log"):
        file = (tmp_path / "images" / record["image"]).read_bytes()
        assert record["image_hash"] == sha256(file).hexdigest()[:16]


def test_a_replaced_image_is_named_and_nothing_is_written(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 0
    assert main([*command, "--verify-images"]) == 0
    assert "12 images compared with the log: none has changed." in capsys.readouterr().err
    before = content_of(tmp_path / "log")
    for name in ("02.png", "09.png"):
        replace_image(tmp_path / "images" / name)
    assert main(command) == 0  # names and sizes are equal
    capsys.readouterr()
    assert main([*command, "--verify-images"]) == 2
    message = capsys.readouterr().err
    assert "2 images of" in message
    assert "have changed since the classification (02.png, 09.png); restore them" in message
    assert content_of(tmp_path / "log") == before


def test_a_killed_run_is_verified_before_it_continues(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    killed = subprocess.run([*self_kill(1), *command], capture_output=True, check=False, timeout=HANG_S)
    assert killed.returncode < 0
    done = [record["image"] for record in read_records(tmp_path / "log")]
    assert 0 < len(done) < len(IMAGES)
    original = (tmp_path / "images" / done[0]).read_bytes()
    replace_image(tmp_path / "images" / done[0])
    assert main([*command, "--verify-images"]) == 2
    assert f"1 image of {tmp_path}/log" in (message := capsys.readouterr().err)
    assert f"({done[0]})" in message
    assert len(read_records(tmp_path / "log")) == len(done)
    (tmp_path / "images" / done[0]).write_bytes(original)
    assert main([*command, "--verify-images"]) == 0
    assert sorted(record["image"] for record in read_records(tmp_path / "log")) == [
        f"{number:02}.png" for number in range(len(IMAGES))
    ]


def test_a_log_without_hashes_is_continued(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 0
    for part in tmp_path.glob("log/run=*/part-*.parquet"):  # as version 2 wrote them
        table = pq.ParquetFile(part).read().drop_columns(["image_hash"])
        pq.write_table(table.replace_schema_metadata({"hybrid_batch.schema": "2"}), part)
    next(tmp_path.glob("log/run=*/part-00001.parquet")).unlink()
    assert main([*command, "--verify-images"]) == 0
    assert "8 records cannot be compared" in capsys.readouterr().err
    assert [record["image_hash"] is None for record in read_records(tmp_path / "log")] == [True] * 4 + [False] * 4 + [
        True
    ] * 4
