"""A bundle knows that its weights are random, and every command that opens it prints that in one line."""

import json
import warnings
from pathlib import Path
from types import ModuleType

import pytest

import hybrid_batch
from hybrid_batch.cli import main
from hybrid_batch.inference.model.bundle import read_bundle
from hybrid_batch.inference.model.importing.resolve_model import BUILT_IN_PATH, resolve_model
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

REMEDY = "for trained weights use `hybrid-batch import app:MobileNet --weights imagenet` or --weights FILE."


@pytest.fixture(scope="module")
def random_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("random") / "tiny.bundle"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        hybrid_batch.import_model("app:MobileNet", path, size=(32, 32))
    assert any(str(warning.message).startswith("tiny has random weights") for warning in caught)
    return path


def test_a_bundle_stores_that_its_weights_are_random(random_bundle: Path) -> None:
    assert json.loads((random_bundle / "bundle.json").read_text())["weights"] == "random"
    assert read_bundle(random_bundle).has_random_weights


def test_the_import_prints_that_the_weights_are_random(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "m.bundle"
    assert main(["import", "app:MobileNet", "--size", "32x32", "-o", str(output)]) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if "random" in line]
    assert notes == [f"Note: m has random weights, so its predictions carry no meaning; {REMEDY}"]


@pytest.mark.parametrize("arguments", [("cuts",), ("run", "IMAGES", "--split", "local", "--model")])
def test_every_use_prints_that_the_weights_are_random(
    arguments: tuple[str, ...], random_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(ROOT / "data/digits/images/3") if word == "IMAGES" else word for word in arguments]
    log = ["--log", str(tmp_path), "--labels", "none"] if arguments[0] == "run" else []
    assert main([*words, str(random_bundle), *log]) == 0
    assert capsys.readouterr().err.splitlines().count(
        f"Note: tiny has random weights, so its predictions carry no meaning; {REMEDY}"
    ) == 1  # fmt: skip


def test_a_model_that_is_imported_on_use_is_known_in_the_cache_too() -> None:
    for _ in range(2):
        notes: list[str] = []
        assert resolve_model("app:MobileNet", notes.append).has_random_weights
        assert [line for line in notes if REMEDY in line] == notes[-1:]


@pytest.mark.filterwarnings("ignore:__array__ implementation")
def test_trained_weights_from_a_file_are_not_random(keras: ModuleType, tmp_path: Path) -> None:
    weights = tmp_path / "made.weights.h5"
    keras.applications.MobileNet(weights=None, input_shape=(32, 32, 3)).save_weights(weights)
    with warnings.catch_warnings(action="ignore"):
        bundle = hybrid_batch.import_model("app:MobileNet", tmp_path / "m.bundle", size=(32, 32), weights=str(weights))
    assert not bundle.has_random_weights
    assert "weights" not in json.loads((bundle.path / "bundle.json").read_text())


def test_a_bundle_without_the_field_stays_valid() -> None:
    assert "weights" not in json.loads((BUILT_IN_PATH / "bundle.json").read_text())
    assert not resolve_model("digits").has_random_weights
