import io
import os
import re
from pathlib import Path

import pyarrow as pa
import pytest

from hybrid_batch.data.errors import NoImages, StorageFailed, WrongUsage
from hybrid_batch.data.images.images import IMAGES_SCHEMA, find_images
from hybrid_batch.data.images.labels import find_labelled_images
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
    with pytest.raises(
        NoImages, match=rf"^No images in '{uri}', only 1 hidden file, 2 files of another kind \(.csv 1, .txt 1\); give"
    ):
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


def find(*sources: object) -> list[str]:
    found = find_images([str(source) for source in sources])
    names = found.table["image"].to_pylist()
    assert names == sorted(names, key=str.encode)
    assert all(found.root.read(name) for name in names)
    return names


def test_several_folders_and_files_have_names_below_their_common_folder(uri: str) -> None:
    put(uri, "cat/1.png", "cat/deep/2.png", "dog/3.png", "bird/4.png")
    assert find(f"{uri}/cat", f"{uri}/dog/3.png") == ["cat/1.png", "cat/deep/2.png", "dog/3.png"]
    assert find(f"{uri}/cat/1.png", f"{uri}/cat/deep/2.png") == ["1.png", "deep/2.png"]
    assert find(f"{uri}/cat", f"{uri}/cat", f"{uri}/cat/1.png") == ["1.png", "deep/2.png"]
    assert find_images([f"{uri}/cat"]).table["image"].to_pylist() == ["1.png", "deep/2.png"]
    with pytest.raises(NoImages, match=f"^No file or folder '{uri}/fish'; give images"):
        find(f"{uri}/cat", f"{uri}/fish")


def test_a_pattern_selects_what_a_shell_would(uri: str) -> None:
    put(uri, "photos/cat/1.jpg", "photos/cat/1.png", "photos/dog/a/2.jpg", "photos/3.jpg", "photos/.h/4.jpg", "5.jpg")
    assert find(f"{uri}/photos/**/*.jpg") == ["3.jpg", "cat/1.jpg", "dog/a/2.jpg"]
    assert find(f"{uri}/photos/*/*.jpg") == ["cat/1.jpg"]
    assert find(f"{uri}/photos/*.jpg") == ["3.jpg"]
    assert find(f"{uri}/photos/[cd]*") == ["cat/1.jpg", "cat/1.png", "dog/a/2.jpg"]
    assert find(f"{uri}/photos/c?t/*.png", f"{uri}/5.jpg") == ["5.jpg", "photos/cat/1.png"]
    with pytest.raises(NoImages, match=r"No file matches .*gif'"):
        find(f"{uri}/photos/**/*.gif")


def test_a_name_with_wildcards_is_a_name_where_it_exists(uri: str) -> None:
    put(uri, "photos [2020]/1.jpg", "photos 2/2.jpg")
    assert find(f"{uri}/photos [2020]") == ["1.jpg"]
    assert find(f"{uri}/photos [2020]", f"{uri}/photos 2") == ["photos 2/2.jpg", "photos [2020]/1.jpg"]


def test_patterns_and_lists_are_relative_to_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(str(tmp_path), "photos/cat/1.jpg", "photos/dog/2.jpg")
    monkeypatch.chdir(tmp_path)
    assert find("photos/*/*.jpg") == ["cat/1.jpg", "dog/2.jpg"]
    assert find("*/cat") == ["photos/cat/1.jpg"]
    (tmp_path / "list.txt").write_text("photos/cat/1.jpg\n\nphotos/dog/2.jpg\r\n./photos/cat/../cat/1.jpg\n")
    assert find("@list.txt") == ["cat/1.jpg", "dog/2.jpg"]
    assert str(find_images("@list.txt").root.uri) == str(tmp_path / "photos")


def test_a_list_of_files(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(uri, "a/1.png", "b/2.png", "b/3.png", "b/notes.txt")
    listed = [f"{uri}/a/1.png", f"{uri}/b/3.png", f"{uri}/b/notes.txt"]
    (tmp_path / "list").write_text("\n".join(listed))
    assert find(f"@{tmp_path}/list") == ["a/1.png", "b/3.png"]
    assert find_images(f"@{tmp_path}/list").skipped.suffixes == {".txt": 1}
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f"{uri}/b/2.png\n".encode())))
    assert find("@-") == ["2.png"]
    monkeypatch.setattr("sys.stdin", None)  # closed
    with pytest.raises(NoImages, match="The list '-' is empty"):
        find("@-")
    (tmp_path / "list").write_text(f"{uri}/a/1.png\n{uri}/a/9.png\n{uri}/8.png")
    with pytest.raises(NoImages, match=r"list names 2 files that do not exist, such as '.*/a/9.png', '.*/8.png'"):
        find(f"@{tmp_path}/list")
    (tmp_path / "list").write_text("\n")
    with pytest.raises(NoImages, match="list' is empty"):
        find(f"@{tmp_path}/list")
    with pytest.raises(NoImages, match=r"No file '.*/none'; give @FILE"):
        find(f"@{tmp_path}/none")


def test_a_list_names_files_by_their_bytes(tmp_path: Path) -> None:
    names = [b"bad\xff.png", rb"bad\xff.png", "é.png".encode()]
    for name in names:
        (tmp_path / os.fsdecode(name)).write_bytes(name)
    (tmp_path / "list").write_bytes(b"\n".join(bytes(tmp_path) + b"/" + name for name in names))
    found = find_images(f"@{tmp_path}/list")
    assert {found.root.read(name) for name in found.table["image"].to_pylist()} == set(names)
    everything = find_images(str(tmp_path))
    assert set(found.table["image"].to_pylist()) <= set(everything.table["image"].to_pylist())


def test_s3_and_local_files_are_not_mixed(tmp_path: Path, bucket: str) -> None:
    put(f"s3://{bucket}/x", "1.png")
    put(str(tmp_path), "1.png")
    with pytest.raises(WrongUsage, match="Some images are on S3 and some are local"):
        find(tmp_path, f"s3://{bucket}/x")


def test_a_list_without_its_mark_is_explained(tmp_path: Path) -> None:
    put(str(tmp_path), "list.txt")
    with pytest.raises(
        NoImages, match=rf"list.txt' is not an image; give a folder or an image, or @{tmp_path}/list.txt"
    ):
        find(tmp_path / "list.txt")


def test_files_that_are_no_images_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(str(tmp_path), "a.png", ".hidden.png", ".git/b", "labels.csv", "b.MP4", "run=1/part.parquet", "secret/c.png")
    os.mkfifo(tmp_path / "pipe.png")
    scandir = os.scandir

    def refuse(path: os.PathLike[str]) -> object:
        if Path(path).name == "secret":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = find_images(str(tmp_path))
    assert found.table["image"].to_pylist() == ["a.png"]
    kinds = "2 files of another kind (.csv 1, .mp4 1)"
    assert str(found.skipped) == f"2 hidden files, {kinds}, 1 file of a log, 1 special file, 1 unreadable folder"
    stored = found.skipped.to_dict()
    assert (stored["hidden"], stored["suffixes"], stored["logs"], stored["special"]) == (
        2,
        {".csv": 1, ".mp4": 1},
        1,
        1,
    )
    assert stored["unreadable_folders"] == {
        "secret": f"Cannot list {tmp_path}/secret: permission denied; change the permissions or choose another folder."
    }
    notes: list[str] = []
    labelled = find_labelled_images(str(tmp_path), "none", ["a"], notes.append)
    assert labelled.skipped == found.skipped
    assert notes == [
        f"Warning: Cannot list {tmp_path}/secret: permission denied; change the permissions or choose another folder; "
        "the run goes on without it."
    ]
    put(str(tmp_path / "few"), "a.png")
    assert find_images(str(tmp_path / "few")).skipped.to_dict() == {}
