"""`hybrid-batch report`: the page of real runs, with thumbnails of the available images."""

import base64
import io
import os
import pty
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hybrid_batch.cli import main as command
from hybrid_batch.data.log.own_runs import note_run
from hybrid_batch.data.log.records import Record
from hybrid_batch.data.log.runs import RunFolder
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.inference.model.cache import cache_folder
from hybrid_batch.jobs.input.image_roots import ImageRoots, find_image_roots
from hybrid_batch.jobs.output.thumbnails import SIZE, thumbnail_loader
from tests.conftest import HANG_S
from tests.factories.records import record, write_run

RECORDS = [record(image="a/1.png", label="a", prediction="b"), record(image="b/2.png", label="b", prediction="b")]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "a").mkdir(parents=True)
    Image.new("L", (40, 60), 200).save(folder / "a" / "1.png")
    (folder / "a" / "broken.png").write_text("no image")
    (tmp_path / "secret.png").write_bytes((folder / "a" / "1.png").read_bytes())
    return folder


def run_of(place: Path, images: object, records: Sequence[Record] = RECORDS, *, own: bool = True) -> str:
    """A run whose log states a folder of images; `own` as if this user had started it."""
    if own and isinstance(images, str):
        note_run(cache_folder("own"), str(place), images)
    RunFolder(open_storage(str(place))).create({"shard_size": 1, "images": images})
    write_run(str(place), records, 1)
    return str(place)


def test_the_page_has_the_images_of_the_run(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "new" / "page.html"
    assert command(["report", run_of(tmp_path / "run=x", str(images)), "--output", str(target)]) == 0
    assert capsys.readouterr() == (f"{target}\n", "")
    text = target.read_text(encoding="utf-8")
    (encoded,) = re.findall(r'src="data:image/webp;base64,([^"]+)"', text)
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
        assert (image.format, image.size) == ("WEBP", (SIZE, SIZE))
        assert abs(int(np.asarray(image).mean()) - 200) <= 2


def test_moved_images_are_found_with_the_images_option(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, target = run_of(tmp_path / "run=x", str(tmp_path / "gone")), tmp_path / "page.html"
    assert command(["report", run, "--output", str(target)]) == 0
    assert "<img" not in target.read_text(encoding="utf-8")
    assert "no image could be read; name the folder of the images with --images." in capsys.readouterr().err
    assert command(["report", run, "--output", str(target), "--images", str(images)]) == 0
    assert "<img" in target.read_text(encoding="utf-8")
    assert capsys.readouterr().err == ""


def test_images_are_read_from_s3(images: Path, bucket: str, tmp_path: Path) -> None:
    open_storage(f"s3://{bucket}/images").write_once("a/1.png", (images / "a" / "1.png").read_bytes())
    thumbnail = thumbnail_loader([f"s3://{bucket}/images"])
    assert thumbnail("a/1.png") is not None
    assert thumbnail("a/2.png") is None


def test_names_in_the_log_cannot_leave_the_image_folder(images: Path, tmp_path: Path) -> None:
    thumbnail = thumbnail_loader([str(images)])
    assert thumbnail("a/1.png") is not None
    for name in ("../secret.png", "a/../../secret.png", str(tmp_path / "secret.png"), "a/broken.png", "a", "", "a\0b"):
        assert thumbnail(name) is None


@pytest.mark.parametrize("places", [[], ["ftp://host/images"]])
def test_a_run_without_an_image_folder_has_no_thumbnails(places: list[str]) -> None:
    assert thumbnail_loader(places)("a/1.png") is None


@pytest.mark.parametrize("kind", ["path", "link", "file URL", "S3"])
def test_the_folder_that_a_foreign_log_states_is_not_read(
    images: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "link").symlink_to(images)
    stated = {"path": str(images), "link": str(tmp_path / "link"), "file URL": images.as_uri(), "S3": "s3://bucket/x"}
    run, target = run_of(tmp_path / "run=x", stated[kind], own=False), tmp_path / "page.html"
    assert command(["report", run, "--output", str(target)]) == 0
    assert command(["evaluate", run, "--output", str(tmp_path / "files")]) == 0
    pages = [target.read_text(encoding="utf-8"), (tmp_path / "files" / "report.html").read_text(encoding="utf-8")]
    assert "<img" not in "".join(pages)
    assert "name the folder of the images with --images." in capsys.readouterr().err
    assert command(["report", run, "--output", str(target), "--images", str(images)]) == 0
    assert "<img" in target.read_text(encoding="utf-8")


def test_a_foreign_log_in_the_place_of_an_own_run_reads_the_own_images_only(images: Path, tmp_path: Path) -> None:
    note_run(cache_folder("own"), str(tmp_path / "run=x"), str(tmp_path / "other"))
    run, target = run_of(tmp_path / "run=x", str(images), own=False), tmp_path / "page.html"
    assert command(["report", run, "--output", str(target)]) == 0
    assert "<img" not in target.read_text(encoding="utf-8")


def test_a_note_that_others_can_write_is_not_used(images: Path, tmp_path: Path) -> None:
    run = run_of(tmp_path / "run=x", str(images))
    assert find_image_roots([run]).own == (str(images),)
    for note in (cache_folder("own") / "runs").iterdir():
        note.chmod(0o666)
    assert find_image_roots([run]) == ImageRoots((), (str(images),))


@pytest.mark.parametrize("answer", ["y", "n"])
def test_a_person_is_asked_for_the_folder_of_a_foreign_log(images: Path, tmp_path: Path, answer: str) -> None:
    run, target = run_of(tmp_path / "run=x", str(images), own=False), tmp_path / "page.html"
    master, terminal = pty.openpty()
    program = [sys.executable, "-m", "hybrid_batch", "report", run, "--output", str(target)]
    os.write(master, f"{answer}\n".encode())
    done = subprocess.run(program, stdin=terminal, capture_output=True, text=True, check=False, timeout=HANG_S)
    os.close(master)
    os.close(terminal)
    assert done.returncode == 0, done.stderr
    assert f"The log names '{images}' as the folder of its images." in done.stderr
    assert ("<img" in target.read_text(encoding="utf-8")) == (answer == "y")


def test_only_regular_files_below_the_folder_are_read(images: Path, tmp_path: Path) -> None:
    (images / "out.png").symlink_to(tmp_path / "secret.png")
    (images / "up").symlink_to(tmp_path)
    (images / "in.png").symlink_to(images / "a" / "1.png")
    os.mkfifo(images / "pipe.png")
    (images / "zero.png").symlink_to("/dev/zero")
    (images / "loop.png").symlink_to("loop.png")
    thumbnail = thumbnail_loader([str(images)])
    assert thumbnail("in.png") is not None
    for name in ("out.png", "up/secret.png", "pipe.png", "zero.png", "loop.png", "a/./../../secret.png", "/etc/passwd"):
        assert thumbnail(name) is None, name


def test_a_truncated_image_is_shown_as_far_as_it_is_readable(images: Path, tmp_path: Path) -> None:
    whole = io.BytesIO()
    Image.effect_noise((200, 200), 90).save(whole, "JPEG")
    (images / "half.jpg").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    found = thumbnail_loader([str(images)])("half.jpg")
    assert found is not None
    with Image.open(io.BytesIO(found)) as image:
        pixels = np.asarray(image.convert("L"), np.int64)
    assert pixels[: SIZE // 3].std() > 20
    assert pixels[-SIZE // 3 :].std() < 10


def test_the_page_names_the_run_and_shows_failed_images(images: Path, tmp_path: Path) -> None:
    records = [*RECORDS, record(image="a/broken.png", prediction=None, error="no known image format")]
    target = tmp_path / "page.html"
    assert command(["report", run_of(tmp_path / "run=x", str(images), records), "--output", str(target)]) == 0
    text = target.read_text(encoding="utf-8")
    assert f"<dt>images</dt><dd><bdi>{images}</bdi></dd>" in text
    assert "<dt>run</dt><dd><bdi>x</bdi></dd>" in text
    assert "no known image format" in text


SMALL_FILES = """
import resource, signal, sys
from hybrid_batch.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
sys.exit(main(sys.argv[1:]))
"""


def test_an_older_page_survives_a_failure_to_write(images: Path, tmp_path: Path) -> None:
    run, target = run_of(tmp_path / "run=x", str(images)), tmp_path / "page.html"
    target.write_text("the older page")
    arguments = [sys.executable, "-c", SMALL_FILES, "report", run, "--output", str(target)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=HANG_S)
    assert done.returncode == 1
    assert "Cannot write" in done.stderr
    assert target.read_text() == "the older page"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "page.html", "run=x", "secret.png"]


def test_the_page_replaces_an_older_one_behind_a_link(images: Path, tmp_path: Path) -> None:
    run, target, link = run_of(tmp_path / "run=x", str(images)), tmp_path / "page.html", tmp_path / "link.html"
    target.write_text("the older page")
    link.symlink_to(target)
    assert command(["report", run, "--output", str(link)]) == 0
    assert link.is_symlink()
    assert target.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_the_page_is_written_to_a_device(images: Path, tmp_path: Path) -> None:
    assert command(["report", run_of(tmp_path / "run=x", str(images)), "--output", "/dev/null"]) == 0
    assert Path("/dev/null").is_char_device()


def test_the_page_is_written_to_s3(images: Path, bucket: str, tmp_path: Path) -> None:
    target = f"s3://{bucket}/pages/page.html"
    assert command(["report", run_of(tmp_path / "run=x", str(images)), "--output", target]) == 0
    assert open_storage(f"s3://{bucket}/pages").read("page.html").startswith(b"<!DOCTYPE html>")


def test_open_starts_the_browser(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, target = run_of(tmp_path / "run=x", str(images)), tmp_path / "page.html"
    opener = tmp_path / "bin" / "xdg-open"
    opener.parent.mkdir()
    opener.write_text(f'#!/bin/sh\nprintf %s "$1" > {tmp_path}/opened\n')
    opener.chmod(0o755)
    monkeypatch.setenv("PATH", f"{opener.parent}:{os.environ['PATH']}")
    assert command(["report", run, "--output", str(target), "--open"]) == 0
    assert (tmp_path / "opened").read_text() == str(target)
    opener.write_text("#!/bin/sh\nexit 3\n")
    capsys.readouterr()
    assert command(["report", run, "--output", str(target), "--open"]) == 0
    assert capsys.readouterr().err == f"Note: Cannot open a browser; open {target} yourself.\n"


def test_an_unfinished_run_is_reported_with_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(str(tmp_path / "run=x"), RECORDS, 1, finished=False)
    assert command(["report", str(tmp_path), "--output", str(tmp_path / "page.html")]) == 0
    assert "is unfinished: 1 of its 2 images" in capsys.readouterr().err
    assert "is unfinished: 1 of its 2 images" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_all_runs_of_a_log_are_reported_without_their_bad_parts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("run=x", "run=y"):
        write_run(str(tmp_path / name), RECORDS, 1)
    (tmp_path / "run=y" / "part-00001.parquet").write_bytes(b"PAR1")
    arguments = ["report", str(tmp_path), "--output", str(tmp_path / "page.html")]
    assert command(arguments) == 2
    assert "or add --all-runs" in capsys.readouterr().err
    assert command([*arguments, "--all-runs"]) == 2
    assert "part-00001.parquet cannot be counted" in capsys.readouterr().err
    assert command([*arguments, "--all-runs", "--skip-unreadable"]) == 0
    assert "part-00001.parquet cannot be counted" in (tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ([], 2, "Missing argument"),
        (["{log}/absent"], 2, "No folder"),
        (["{log}", "--by", "colour"], 2, "no column 'colour'"),
        (["{log}", "--output", "{log}/file/below.html"], 1, "Cannot write"),
        (["{log}", "--output", "{log}"], 2, "is a folder; give the name of a file"),
        (["{log}", "--output", "s3://bucket/page.html", "--open"], 2, "--open needs a local file"),
    ],
)
def test_failures_are_reported_in_one_sentence(
    arguments: list[str], code: int, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(str(tmp_path / "run=x"), RECORDS, 1)
    (tmp_path / "file").write_text("")
    assert command(["report", *(argument.format(log=tmp_path) for argument in arguments)]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert sentence in err
    assert "Traceback" not in err
