"""The sample: real held-out digits, and a model that classifies them correctly."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hybrid_batch.data.digits.make_digits import DIGITS, EPOCHS, PREPARATION, load_digits

pytestmark = pytest.mark.slow

pytest.importorskip("sklearn")
pytest.importorskip("tensorflow", exc_type=ImportError)


def pixels_in(folder: Path) -> dict[str, bytes]:
    """Return the pixels of every image by name; the bytes of the files depend on the version of zlib."""
    paths = sorted(folder.glob("images/*/*.png"))
    return {str(path.relative_to(folder)): Image.open(path).convert("L").tobytes() for path in paths}


def test_images_are_held_out_digits() -> None:
    pixels, digits, held_out = load_digits()
    found = pixels_in(DIGITS)
    assert found == {f"images/{digits[index]}/{index:04}.png": pixels[index].tobytes() for index in held_out}
    assert len(found) == 360
    assert np.bincount(digits[held_out]).min() >= 35
    assert set(np.unique(pixels)) == {round(shade * 255 / 16) for shade in range(17)}
    assert (DIGITS / "classes.txt").read_text().split() == [str(digit) for digit in range(10)]


ACCURACY = """
import keras
from hybrid_batch.data.digits.make_digits import DIGITS, accuracy
print(accuracy(DIGITS, keras.models.load_model(DIGITS / "digits.keras")))
"""


def test_the_model_classifies_them_correctly() -> None:
    result = subprocess.run([sys.executable, "-c", ACCURACY], capture_output=True, text=True, check=True)
    assert float(result.stdout.split()[-1]) >= 0.98
    assert (DIGITS / "digits.keras").stat().st_size < 1_000_000
    assert (PREPARATION.height, PREPARATION.width, PREPARATION.channels) == (8, 8, 1)


def test_the_script_reproduces_the_sample(tmp_path: Path, rounds: Callable[[int, int], int]) -> None:
    """In a third of the epochs, which is enough for the accuracy; with --long in all of them."""
    epochs = str(rounds(20, EPOCHS))
    program = [sys.executable, "-m", "hybrid_batch.data.digits.make_digits", tmp_path, "--epochs", epochs]
    result = subprocess.run(program, capture_output=True, text=True, check=True)
    accuracy = re.search(r"accuracy on the 360 images held out: (0\.\d+)", result.stdout)
    assert accuracy
    assert float(accuracy[1]) >= 0.98
    assert pixels_in(tmp_path) == pixels_in(DIGITS)
    assert (tmp_path / "classes.txt").read_bytes() == (DIGITS / "classes.txt").read_bytes()
