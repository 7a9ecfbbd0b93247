"""Models whose input has no channels or is a flat vector: they are imported with a reshape in front."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hybrid_batch import open_run
from hybrid_batch.cli import main
from hybrid_batch.data.errors import ModelRefused, WrongUsage
from hybrid_batch.inference.model.bundle import read_bundle
from hybrid_batch.inference.model.importing.importer import ImportSettings, import_model
from tests.inference.keras_models import assert_equal_scores

pytestmark = pytest.mark.usefixtures("suppressed_output")


def flat_model(keras: ModuleType, *shape: int, classes: int = 3) -> Any:
    keras.utils.set_random_seed(7)
    layers = keras.layers
    flatten = [layers.Flatten(name="flat")] if len(shape) > 1 else []
    hidden = layers.Dense(16, "relu", name="hidden")
    return keras.Sequential([keras.Input(shape), *flatten, hidden, layers.Dense(classes, "softmax", name="scores")])


@pytest.mark.parametrize(
    ("shape", "size", "input_shape"),
    [
        ((784,), (28, 28), (28, 28, 1)),
        ((784,), (28, 28, 1), (28, 28, 1)),
        ((784,), (14, 56), (14, 56, 1)),
        ((192,), (8, 8), (8, 8, 3)),
        ((28, 28), None, (28, 28, 1)),
    ],
)
@pytest.mark.parametrize("kind", ["keras", "SavedModel"])
def test_scores_are_those_of_the_flattened_image(
    keras: ModuleType,
    tmp_path: Path,
    shape: tuple[int, ...],
    size: tuple[int, ...] | None,
    input_shape: tuple[int, ...],
    kind: str,
) -> None:
    model = flat_model(keras, *shape)
    file = tmp_path / ("made.keras" if kind == "keras" else "folder")
    model.save(file) if kind == "keras" else model.export(file)
    bundle = import_model(str(file), tmp_path / "made.bundle", ImportSettings(size=size)).bundle
    assert bundle.input.shape == input_shape
    assert_equal_scores(bundle, lambda images: model(np.reshape(images, (-1, *shape))))


def test_a_flat_model_runs_at_every_cut(
    keras: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = flat_model(keras, 784)
    model.save("made.keras")
    Path("images").mkdir()
    random = np.random.default_rng(5)
    pixels = random.integers(0, 256, (6, 28, 28), np.uint8)
    for index, values in enumerate(pixels):
        Image.fromarray(values).save(f"images/{index}.png")
    Path("labels.txt").write_text("0 Rock\n1 Paper\n2 Scissors\n")
    assert main(["import", "made.keras", "--size", "28x28", "--classes", "labels.txt"]) == 0
    said = capsys.readouterr().err
    assert "Note: removed the index before each name in labels.txt, as Teachable Machine writes it; its" in said
    assert "expect --scale -1-1" in said
    bundle = read_bundle(Path("made.bundle"))
    assert bundle.labels == ("Rock", "Paper", "Scissors")
    assert main(["cuts", "made.bundle", "--verify"]) == 0
    expected = np.argmax(model(pixels.reshape(6, 784).astype(np.float32) / 255), axis=1)
    for cut in bundle.cuts:
        assert main(["run", "images", "--model", "made.bundle", "--split", cut.id, "--run-id", cut.id, "--json"]) == 0
        records = open_run(f"hybrid-batch-log/run={cut.id}").records()
        predictions = dict(zip(records["image"].to_pylist(), records["prediction"].to_pylist(), strict=True))
        assert predictions == {f"{index}.png": bundle.labels[found] for index, found in enumerate(expected)}
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["images"] == 6


@pytest.mark.parametrize(
    ("shape", "size", "error", "message"),
    [
        ((784,), None, ModelRefused, r"is 784, a flat vector; .* --size HEIGHTxWIDTH, such as 28x28x1\.$"),
        ((192,), None, ModelRefused, r"--size HEIGHTxWIDTH, such as 8x8x3\.$"),
        ((7,), None, ModelRefused, r"--size HEIGHTxWIDTH\.$"),
        ((784,), (28, 27), WrongUsage, r"is 784, and an image of --size 28x27 does not have 784 values; choose"),
        ((784,), (28, 14, 2), WrongUsage, r"--size 28x14x2 does not have 784 values"),
        ((28, 28), (14, 56), WrongUsage, r"is 28x28, which --size 14x56 cannot change"),
    ],
)
def test_sizes_that_do_not_fit(
    keras: ModuleType, tmp_path: Path, shape: tuple[int, ...], size: Any, error: type[Exception], message: str
) -> None:
    file = tmp_path / "made.keras"
    flat_model(keras, *shape).save(file)
    with pytest.raises(error, match=message):
        import_model(str(file), tmp_path / "made.bundle", ImportSettings(size=size))
