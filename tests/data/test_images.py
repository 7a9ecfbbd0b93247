import re
from pathlib import Path

import pyarrow as pa
import pytest

from hybrid_batch.data.errors import NoImages, StorageFailed
from hybrid_batch.data.images.images import IMAGES_SCHEMA, find_images
from hybrid_batch.data.storage.open_storage import open_storage


def put(place: str, *names: str) -> None:
    storage = open_storage(place)
    for name in names:
        storage.write_once(name, name.encode())


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place for images."""
    return str(tmp_path / "images") if request.param == "local" else f"s3://{request.getfixturevalue('bucket')}/images"


def test_images_are_found_at_any_depth_in_order_of_bytes(place: str) -> None:
    put(
        place,
        "b/2.png",
        "b/10.png",
        "a.png",
        "B/1.PNG",
        "b/deep/er/x.jpg",
        "é.webp",
        "z",
        "b.c/1.png",
        "\U0001f600.gif",
    )
    images = find_images(place)
    assert images.table.schema == IMAGES_SCHEMA
    names = images.table["image"].to_pylist()
    assert names == sorted(names, key=str.encode)
    assert names == ["B/1.PNG", "a.png", "b.c/1.png", "b/10.png", "b/2.png", "b/deep/er/x.jpg", "z", "é.webp", "😀.gif"]
    assert images.table["size"].to_pylist() == [len(name.encode()) for name in names]
    assert images.table["label"].null_count == len(names)
    assert all(images.root.read(name) == name.encode() for name in names)


def test_hidden_and_other_files_are_left_out(place: str) -> None:
    put(
        place,
        "a.png",
        ".hidden.png",
        ".git/b.png",
        "sub/.cache/c.png",
        "labels.CSV",
        "Thumbs.db",
        "notes.txt",
        "odd.bin",
    )
    assert find_images(place).table["image"].to_pylist() == ["a.png", "odd.bin"]


def test_hidden_is_what_lies_below_the_root_not_above(tmp_path: Path) -> None:
    put(str(tmp_path / ".cache" / "images"), "a.png")
    assert find_images(str(tmp_path / ".cache" / "images")).table.num_rows == 1


def test_one_image(place: str) -> None:
    put(place, "a.png", "a.png.old", "a.pngs/b.png")
    images = find_images(f"{place}/a.png")
    assert images.table.to_pylist() == [{"image": "a.png", "label": None, "size": 5}]
    assert images.root.read("a.png") == b"a.png"
    with pytest.raises(NoImages, match="No folder"):
        find_images(f"{place}/a.pn")


def test_one_image_where_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(str(tmp_path), "a.png")
    monkeypatch.chdir(tmp_path)
    assert find_images("a.png").table["image"].to_pylist() == ["a.png"]


def test_missing_place(place: str) -> None:
    put(place, "a.png")
    with pytest.raises(NoImages, match=rf"^No folder '{place}/nowhere'; give a folder of images"):
        find_images(f"{place}/nowhere")


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(NoImages, match=rf"^The folder '{tmp_path}' is empty"):
        find_images(str(tmp_path))


def test_folder_without_images(place: str) -> None:
    put(place, "a.txt", "b/c.csv", ".hidden.png")
    with pytest.raises(NoImages, match=rf"^No images in '{place}', only 3 other files"):
        find_images(place)


def test_missing_bucket(aws: str) -> None:
    message = "bucket 'no-such-bucket' does not exist; create it or correct the name."
    with pytest.raises(StorageFailed, match=rf"^Cannot list s3://no-such-bucket/images/: {re.escape(message)}$"):
        find_images("s3://no-such-bucket/images")


def test_more_images_than_one_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hybrid_batch.data.images.images._CHUNK", 3)
    put(str(tmp_path), *(f"{index}.png" for index in range(9)))
    table = find_images(str(tmp_path)).table
    assert table["image"].to_pylist() == [f"{index}.png" for index in range(9)]
    assert isinstance(table, pa.Table)
    assert table["image"].num_chunks == 1


def test_every_edge_image_is_listed(shared_data: Path) -> None:
    assert find_images(str(shared_data / "images" / "edge")).table.num_rows == 97
