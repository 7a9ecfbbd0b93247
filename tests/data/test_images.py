import re
from pathlib import Path

import pyarrow as pa
import pytest

from hybrid_batch.data.errors import NoImages, StorageFailed
from hybrid_batch.data.images.images import IMAGES_SCHEMA, find_images
from hybrid_batch.data.storage.open_storage import open_storage


def put(uri: str, *names: str) -> None:
    storage = open_storage(uri)
    for name in names:
        storage.write_once(name, name.encode())


@pytest.fixture(params=["local", "s3"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty folder or bucket for images."""
    return str(tmp_path / "images") if request.param == "local" else f"s3://{request.getfixturevalue('bucket')}/images"


def test_images_are_found_at_any_depth_sorted_by_bytes(uri: str) -> None:
    put(
        uri,
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
    images = find_images(uri)
    assert images.table.schema == IMAGES_SCHEMA
    names = images.table["image"].to_pylist()
    assert names == sorted(names, key=str.encode)
    assert names == ["B/1.PNG", "a.png", "b.c/1.png", "b/10.png", "b/2.png", "b/deep/er/x.jpg", "z", "é.webp", "😀.gif"]
    assert images.table["size"].to_pylist() == [len(name.encode()) for name in names]
    assert images.table["label"].null_count == len(names)
    assert all(images.root.read(name) == name.encode() for name in names)


def test_hidden_and_other_files_are_skipped(uri: str) -> None:
    put(
        uri,
        "a.png",
        ".hidden.png",
        ".git/b.png",
        "sub/.cache/c.png",
        "labels.CSV",
        "Thumbs.db",
        "notes.txt",
        "odd.bin",
    )
    assert find_images(uri).table["image"].to_pylist() == ["a.png", "odd.bin"]


def test_hidden_folders_above_the_root_do_not_matter(tmp_path: Path) -> None:
    put(str(tmp_path / ".cache" / "images"), "a.png")
    assert find_images(str(tmp_path / ".cache" / "images")).table.num_rows == 1


def test_one_image(uri: str) -> None:
    put(uri, "a.png", "a.png.old", "a.pngs/b.png")
    images = find_images(f"{uri}/a.png")
    assert images.table.to_pylist() == [{"image": "a.png", "label": None, "size": 5}]
    assert images.root.read("a.png") == b"a.png"
    with pytest.raises(NoImages, match="No folder"):
        find_images(f"{uri}/a.pn")


def test_one_image_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(str(tmp_path), "a.png")
    monkeypatch.chdir(tmp_path)
    assert find_images("a.png").table["image"].to_pylist() == ["a.png"]


def test_missing_folder(uri: str) -> None:
    put(uri, "a.png")
    with pytest.raises(NoImages, match=rf"^No folder '{uri}/nowhere'; give a folder of images"):
        find_images(f"{uri}/nowhere")


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(NoImages, match=rf"^The folder '{tmp_path}' is empty"):
        find_images(str(tmp_path))


def test_folder_without_images(uri: str) -> None:
    put(uri, "a.txt", "b/c.csv", ".hidden.png")
    with pytest.raises(NoImages, match=rf"^No images in '{uri}', only 3 other files"):
        find_images(uri)


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
