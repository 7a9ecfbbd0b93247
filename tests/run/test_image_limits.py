"""The limit of an image's pixels in a run."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from hybrid_batch.cli import main
from tests.conftest import ROOT
from tests.run_logs import read_records


@pytest.mark.parametrize("split", ["local", "c006", "remote"])
def test_an_image_beyond_the_limit_is_an_error_of_its_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], split: str
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for number, path in enumerate(sorted((ROOT / "data/digits/images").rglob("*.png"))[:3]):
        shutil.copy(path, images / f"{number}.png")
    Image.new("L", (1200, 1000)).save(images / "large.png")
    options = ["--log", str(tmp_path / "log"), "--labels", "none", "--split", split, "--max-pixels", "1"]
    assert main(["run", str(images), *options]) == 0, capsys.readouterr().err
    errors = {record["image"]: record["error"] for record in read_records(tmp_path / "log")}
    assert errors.pop("large.png") == "the image has 1,200,000 pixels, more than 1,000,000 (--max-pixels)"
    assert set(errors.values()) == {None}
