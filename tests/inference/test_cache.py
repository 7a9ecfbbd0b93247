"""A cache folder that cannot be written is no error: a temporary folder takes its place, with one note."""

import os
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import COMMAND, ROOT
from tests.inference.keras_models import classifier, convolution

IMAGES = str(ROOT / "data/digits/images/3")


def run(*arguments: str, cache: str | None, folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command with this cache folder; None for that of the home folder."""
    own = {name: value for name, value in os.environ.items() if name not in ("HYBRID_BATCH_CACHE", "XDG_CACHE_HOME")}
    own |= {"TMPDIR": str(folder)} | settings | ({} if cache is None else {"HYBRID_BATCH_CACHE": cache})
    return subprocess.run([*COMMAND, *arguments], env=own, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("place", ["cache", "home"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("run", IMAGES, "--model", "digits", "--split", "c005"),
        ("run", IMAGES, "--model", "digits", "--split", "c005", "--codec", "auto"),
        ("profile", "digits"),
    ],
    ids=["run", "codec auto", "profile"],
)
def test_a_command_that_only_uses_the_cache_works_with_one_note(
    arguments: tuple[str, ...], place: str, tmp_path: Path
) -> None:
    (tmp_path / "taken").touch()
    cache = str(tmp_path / "taken" / "x") if place == "cache" else None
    done = run(*arguments, cache=cache, folder=tmp_path, HOME=str(tmp_path / "taken"))
    assert done.returncode == 0, done.stderr
    notes = [line for line in done.stderr.splitlines() if "cache folder" in line]
    assert len(notes) == 1, done.stderr
    assert notes[0].endswith(
        "(Not a directory), so nothing is kept for later commands; HYBRID_BATCH_CACHE can name another."
    )
    assert not list(tmp_path.glob("hybrid-batch-cache-*")), "the temporary folder is deleted"


@pytest.mark.slow
def test_a_model_is_imported_without_a_cache(keras: ModuleType, tmp_path: Path, suppressed_output: None) -> None:
    classifier(keras, convolution).save(tmp_path / "made.keras")
    done = run("cuts", "made.keras", "--json", cache="/dev/null/x", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("cache folder") == 1


def test_a_command_that_needs_no_cache_prints_no_note(tmp_path: Path) -> None:
    done = run("cuts", cache="/dev/null/x", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
