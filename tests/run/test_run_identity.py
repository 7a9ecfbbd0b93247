import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from hybrid_batch.data.errors import SettingsMismatch
from hybrid_batch.data.images.images import IMAGES_SCHEMA, ImageSet, SkippedFiles
from hybrid_batch.data.log.runs import RunFolder
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.inference.model.importing.resolve_model import resolve_model
from hybrid_batch.inference.runner.run_identity import RunIdentity, open_run, run_metadata
from hybrid_batch.inference.runner.split import CutSplit, LocalSplit, UploadSplit

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
    with pytest.raises(SettingsMismatch, match=r"was begun with .*, and IMAGES now has .*--run-id"):
        open_run(folder_in(tmp_path), IDENTITY, images, 10, {})


def test_a_new_run_stores_its_identity_and_metadata(tmp_path):
    open_run(folder_in(tmp_path), IDENTITY, images_of("a"), 10, {"tail": "local"})
    stored = json.loads((tmp_path / "run=x" / "_run.json").read_text())
    assert stored["tail"] == "local"
    assert stored["identity"]["split"] == "auto"


def test_the_metadata_names_what_a_reader_of_the_log_looks_for():
    bundle = resolve_model("digits")
    images = replace(images_of("a"), label_source="folder")
    metadata = run_metadata(bundle, images, "local", CutSplit(bundle.cut("c005"), "int8"))
    assert (metadata["cut"], metadata["cut_name"], metadata["codec"]) == ("c005", bundle.cut("c005").name, "int8")
    assert (metadata["bundle_name"], metadata["labels"]) == ("digits", "folder")
    assert metadata["images"] == str(Path.cwd() / "images")  # for commands in another working folder
    created = datetime.fromisoformat(metadata["created_at"])
    assert abs(datetime.now(UTC) - created) < timedelta(minutes=1)
    assert "weights" not in metadata
    random = run_metadata(replace(bundle, has_random_weights=True), images_of("a"), "local")
    assert random["weights"] == "random"
    assert random["labels"] == "none"
    assert "cut" not in random
    local = run_metadata(bundle, images, "http://unused", LocalSplit())
    assert (local["cut_name"], local["tail"]) == ("local", "local")
    assert run_metadata(bundle, images, "local", UploadSplit("image"))["cut"] == "c000"


def test_a_log_with_the_former_names_of_files_is_continued_where_they_are_unambiguous(tmp_path):
    """Former logs have the text `bad\\xff` for a byte and for the same text."""
    byte, text = r"bad\xff.png", r"bad\x5cxff.png"
    former = open_run(folder_in(tmp_path), IDENTITY, images_of("a.png", byte), 10, {})
    assert IDENTITY.run_id(images_of("a.png", text).table) == IDENTITY.run_id(former.images.table)
    again = open_run(folder_in(tmp_path), IDENTITY, images_of("a.png", text), 10, {})
    assert again.images.table["image"].to_pylist() == ["a.png", byte]
    both = images_of("a.png", text, byte)
    assert IDENTITY.run_id(both.table) != IDENTITY.run_id(images_of("a.png", byte, byte).table)
    with pytest.raises(SettingsMismatch, match="was begun with"):
        open_run(folder_in(tmp_path), IDENTITY, both, 10, {})


def test_the_metadata_counts_the_files_that_are_no_images():
    images = replace(images_of("a"), skipped=SkippedFiles(hidden=3, unreadable_folders={"b": "Cannot list b."}))
    metadata = run_metadata(resolve_model("digits"), images, "local")
    assert metadata["skipped"] == {"hidden": 3, "unreadable_folders": {"b": "Cannot list b."}}
    assert "skipped" not in run_metadata(resolve_model("digits"), images_of("a"), "local")
