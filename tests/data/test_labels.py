from pathlib import Path

import pyarrow as pa
import pytest

from hybrid_batch.data.errors import BadLabels
from hybrid_batch.data.images.images import IMAGES_SCHEMA
from hybrid_batch.data.images.labels import label_images
from hybrid_batch.data.storage.open_storage import open_storage

CLASSES = ["cat", "dog", "horse"]


def images(*names: str) -> pa.Table:
    rows = [{"image": name, "label": None, "size": 1} for name in names]
    return pa.Table.from_pylist(rows, IMAGES_SCHEMA)


def labels(table: pa.Table, source: str) -> list[str | None]:
    labelled = label_images(table, source, CLASSES)
    assert labelled.note is None
    assert labelled.table.schema == IMAGES_SCHEMA
    assert labelled.table["image"] == table["image"]
    found: list[str | None] = labelled.table["label"].to_pylist()
    return found


def test_the_first_folder_is_the_label() -> None:
    assert labels(images("cat/1.png", "dog/cat/2.png", "3.png"), "folders") == ["cat", "dog", None]


def test_a_flat_folder_has_no_labels() -> None:
    assert labels(images("1.png", "2.png"), "folders") == [None, None]


@pytest.mark.parametrize(
    ("names", "classes", "words"),
    [
        (["Cat/1.png", " dog/2.png"], CLASSES, "only in case or blanks: ' dog' for 'dog', 'Cat' for 'cat'; rename"),
        (["train/cat/1.png", "val/dog/2.png"], CLASSES, "but the folders in 'train' are; give that folder as IMAGES."),
        (["plane/1.png"], ["0", "1", "2"], "which are called 0 to 2; if they have other names, import the model with"),
        (["plane/1.png"], ["only"], "one of the model's 1 class."),
    ],
)
def test_the_note_on_missing_labels_names_the_reason(names, classes, words) -> None:
    note = label_images(images(*names), "folders", classes).note
    assert note is not None
    assert note.startswith("No labels: no image folder is named for one of the model's")
    assert words in note


def test_labels_can_be_disabled() -> None:
    assert labels(images("unknown/1.png"), "none") == [None]


def test_folders_without_class_names_give_no_labels() -> None:
    labelled = label_images(images("monday/1.png", "2.png"), "folders", CLASSES)
    assert labelled.table["label"].to_pylist() == [None, None]
    assert labelled.note == "No labels: no image folder is named for one of the model's 3 classes."


def test_folders_with_and_without_class_names_are_rejected() -> None:
    with pytest.raises(
        BadLabels, match=r"1 label is not among the model's 3 classes: 'hors' \(did you mean 'horse'\?\);"
    ):
        label_images(images("cat/1.png", "hors/2.png"), "folders", CLASSES)


def test_at_most_five_unknown_labels_are_listed() -> None:
    table = images("cat/1.png", *(f"x{index}/1.png" for index in range(7)))
    with pytest.raises(BadLabels, match=r"^7 labels .*'x0', 'x1', 'x2', 'x3', 'x4' and 2 more;"):
        label_images(table, "folders", CLASSES)


NAMES = ("a/1.png", "a/2.png", "b.png", "c, d.png")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("image,label\na/1.png,cat\nb.png,dog\n", ["cat", None, "dog", None]),
        ("\ufeffimage,label\r\na/2.png,cat\r\n", [None, "cat", None, None]),
        ("id,label,image,note\n1,dog,./b.png,x\n2,cat,.//a/1.png,\n", ["cat", None, "dog", None]),
        ('image,label\na\\1.png, cat \n"c, d.png",dog\n', ["cat", None, None, "dog"]),
        ("image,label\na/1.png,cat\n./a/1.png,cat\n", ["cat", None, None, None]),
        ("image,label\na/1.png,\nb.png,dog\n", [None, None, "dog", None]),
        ("image,label\n", [None, None, None, None]),
    ],
)
def test_labels_from_a_file(tmp_path: Path, text: str, expected: list[str | None]) -> None:
    (tmp_path / "labels.csv").write_text(text, newline="")
    assert labels(images(*NAMES), str(tmp_path / "labels.csv")) == expected


def test_names_with_backslashes_are_labelled_by_their_text(tmp_path: Path) -> None:
    """Names of files that are not UTF-8 have escapes; another system's separator is not one."""
    table = images(r"a/bad\xff.png", "a/1.png")
    (tmp_path / "labels.csv").write_text("image,label\na/bad\\xff.png,cat\na\\1.png,dog\n")
    assert labels(table, str(tmp_path / "labels.csv")) == ["cat", "dog"]


def test_words_like_null_are_labels(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("image,label\na/1.png,null\nb.png,NA\n")
    labelled = label_images(images(*NAMES), str(tmp_path / "labels.csv"), ["null", "NA"])
    assert labelled.table["label"].to_pylist() == ["null", None, "NA", None]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"image;label\na/1.png;cat\n", r"has the columns image;label; it needs image and label"),
        (b"image,label,label\na/1.png,cat,dog\n", "once each"),
        (b"a/1.png,cat\n", r"has the columns a/1.png, cat;"),
        (b"image,label\na/1.png,cat\na/1.png,dog\n", "gives 'a/1.png' two labels, 'cat' and 'dog'"),
        (
            b"image,label\nx.png,cat\ny.png,cat\nz.png,cat\nw.png,cat\nb.png,cat\n",
            "names 4 images that do not exist, such as 'x.png', 'y.png', 'z.png'; write paths relative",
        ),
        (b"image,label\nb.png,cow\n", "'cow'"),
        (b"image,label\nb.png,cat,more\n", "is not a CSV file"),
        (b"image,label\nb.png,\xff\n", "is not a CSV file in UTF-8"),
        (b"", "is not a CSV file"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "labels.csv"),
    ],
)
def test_bad_files(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(BadLabels, match=message) as caught:
        label_images(images(*NAMES), str(tmp_path / "labels.csv"), CLASSES)
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BadLabels, match=r"No labels file .*nowhere.csv"):
        label_images(images("a.png"), str(tmp_path / "nowhere.csv"), CLASSES)


def test_a_file_in_a_bucket(bucket: str) -> None:
    open_storage(f"s3://{bucket}/x").write_once("labels.csv", b"image,label\nb.png,dog\n")
    assert labels(images("b.png"), f"s3://{bucket}/x/labels.csv") == ["dog"]
