import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from hybrid_batch.data.errors import SettingsMismatch
from hybrid_batch.data.images.images import IMAGES_SCHEMA, ImageSet
from hybrid_batch.data.log.runs import RunFolder
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.inference.runner.run_identity import RunIdentity, open_run

IDENTITY = RunIdentity("b" * 64, "auto", "fp16", "openvino")


def images_of(*names: str, label: str | None = "a") -> ImageSet:
    table = pa.table([list(names), [label] * len(names), [1] * len(names)], schema=IMAGES_SCHEMA)
    return ImageSet(open_storage("images"), table)


def folder_in(path: Path) -> RunFolder:
    return RunFolder(open_storage(str(path / "run=x")))


def test_the_run_id_depends_on_everything_that_decides_predictions_or_accuracy():
    names = {
        IDENTITY.run_id(images_of("a.png", "b.png").table),
        IDENTITY.run_id(images_of("a.png", "c.png").table),
        IDENTITY.run_id(images_of("a.png", "b.png", label="b").table),
        IDENTITY.run_id(images_of("a.png", "b.png", label=None).table),
        *(
            replace(IDENTITY, **{field: "other"}).run_id(images_of("a.png", "b.png").table)
            for field in ("bundle", "split", "codec", "engine")
        ),
    }
    assert len(names) == 8
    assert IDENTITY.run_id(images_of("a.png", "b.png").table) in names


def test_the_first_command_fixes_the_shard_size(tmp_path):
    first = open_run(folder_in(tmp_path), IDENTITY, images_of("a", "b"), 10, {})
    again = open_run(folder_in(tmp_path), IDENTITY, images_of("a", "b"), 99, {})
    assert (first.shard_size, again.shard_size) == (10, 10)
    assert again.images.table.equals(first.images.table)


@pytest.mark.parametrize("field", ["bundle", "split", "codec", "engine"])
def test_a_run_with_other_settings_is_rejected_and_unchanged(tmp_path, field):
    open_run(folder_in(tmp_path), IDENTITY, images_of("a"), 10, {})
    before = (tmp_path / "run=x" / "_run.json").read_bytes()
    with pytest.raises(SettingsMismatch, match=f"exists with other settings: {field} .*--run-id"):
        open_run(folder_in(tmp_path), replace(IDENTITY, **{field: "other"}), images_of("a"), 10, {})
    assert (tmp_path / "run=x" / "_run.json").read_bytes() == before


@pytest.mark.parametrize("images", [images_of("a", "c"), images_of("a"), images_of("a", "b", label="z")])
def test_a_run_with_other_images_is_rejected(tmp_path, images):
    open_run(folder_in(tmp_path), IDENTITY, images_of("a", "b"), 10, {})
    with pytest.raises(SettingsMismatch, match=r"exists with other images .*--run-id"):
        open_run(folder_in(tmp_path), IDENTITY, images, 10, {})


def test_a_new_run_stores_its_identity_and_metadata(tmp_path):
    open_run(folder_in(tmp_path), IDENTITY, images_of("a"), 10, {"tail": "local"})
    stored = json.loads((tmp_path / "run=x" / "_run.json").read_text())
    assert stored["tail"] == "local"
    assert stored["identity"]["split"] == "auto"
