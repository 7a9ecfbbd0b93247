"""Directories that are replaced in one step."""

from pathlib import Path

import pytest

from hybrid_batch.inference.model.atomic_directory import atomic_directory


def write(path: Path, text: str) -> None:
    with atomic_directory(path) as folder:
        (folder / "file").write_text(text)


def test_a_directory_is_replaced_without_leftovers(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "place"
    for text in ("old", "new"):
        write(path, text)
        assert (path / "file").read_text() == text
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError])
def test_the_old_directory_survives_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, stop: type[BaseException]
) -> None:
    path = tmp_path / "place"
    write(path, "old")
    rename, steps = Path.rename, 0

    def stopped(self: Path, target: Path) -> Path:
        nonlocal steps
        steps += 1
        if steps == step:
            raise stop
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", stopped)
    with pytest.raises(stop):
        write(path, "new")
    assert (path / "file").read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_incomplete_directory_does_not_appear(tmp_path: Path) -> None:
    path = tmp_path / "place"
    with pytest.raises(ValueError, match="incomplete"), atomic_directory(path) as folder:
        (folder / "file").touch()
        raise ValueError("incomplete")
    assert list(tmp_path.iterdir()) == []
