"""Folders that appear whole, or not at all."""

from pathlib import Path

import pytest

from hybrid_batch.inference.model.atomic_directory import new_folder


def write(place: Path, text: str) -> None:
    with new_folder(place) as folder:
        (folder / "file").write_text(text)


def test_a_folder_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "place"
    for text in ("old", "new"):
        write(place, text)
        assert (place / "file").read_text() == text
    assert list(place.parent.iterdir()) == [place]


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError])
def test_what_stood_there_survives_whatever_stops_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, stop: type[BaseException]
) -> None:
    place = tmp_path / "place"
    write(place, "old")
    rename, steps = Path.rename, 0

    def stopped(self: Path, target: Path) -> Path:
        nonlocal steps
        steps += 1
        if steps == step:
            raise stop
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", stopped)
    with pytest.raises(stop):
        write(place, "new")
    assert (place / "file").read_text() == "old"
    assert list(tmp_path.iterdir()) == [place]


def test_what_is_made_halfway_is_not_seen(tmp_path: Path) -> None:
    place = tmp_path / "place"
    with pytest.raises(ValueError, match="halfway"), new_folder(place) as folder:
        (folder / "file").touch()
        raise ValueError("halfway")
    assert list(tmp_path.iterdir()) == []
