"""`cuts --verify` detects a difference."""

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from hybrid_batch.cli import main
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import Cut, TensorSpec
from hybrid_batch.inference.model.importing.importer import ImportSettings, import_traceable_model
from hybrid_batch.inference.model.importing.traceable_model import wrap_keras_model
from hybrid_batch.inference.model.runtimes import RUNTIMES, Segment, open_runtime
from hybrid_batch.inference.model.runtimes.verify import CutCheck, synthetic_images, verify_cuts
from tests.inference.keras_models import classifier, convolution


@pytest.fixture
def bundle(keras: ModuleType, tmp_path: Path, suppressed_output: None) -> Bundle:
    return imported(classifier(keras, convolution), tmp_path)


def imported(model: object, folder: Path) -> Bundle:
    return import_traceable_model(wrap_keras_model(model), "made", folder / "made.bundle", ImportSettings()).bundle


class BiasedRuntime:
    """The real runtime, except that every head adds a constant to the boundary."""

    def __init__(self, bundle: Bundle, bias: float) -> None:
        self.name, self._bundle, self._bias = "biased", bundle, bias
        self._runtime = open_runtime("openvino", bundle, cached=False)

    def compile(self, inputs: list[TensorSpec], outputs: list[TensorSpec]) -> Segment:
        segment = self._runtime.compile(inputs, outputs)
        if self._bundle.output in outputs:
            return segment
        return lambda tensors: [result + np.float32(self._bias) for result in segment(tensors)]


@pytest.mark.parametrize(("bias", "passes"), [(0.0, True), (0.01, False), (np.nan, False)])
def test_a_difference_is_detected(bundle: Bundle, bias: float, passes: bool) -> None:
    cut = bundle.cut("first")
    assert [found.passed for found in verify_cuts(bundle, BiasedRuntime(bundle, bias), [cut])] == [passes]


def test_one_output_has_two_classes(keras: ModuleType, tmp_path: Path, suppressed_output: None) -> None:
    model = classifier(keras, convolution, units=1, activation="sigmoid")
    bundle = imported(model, tmp_path)
    cut = bundle.cut("first")
    found = [next(verify_cuts(bundle, BiasedRuntime(bundle, bias), [cut])) for bias in (100.0, -100.0)]
    assert min(verified.same_top1 for verified in found) < 1


def test_passed() -> None:
    cut = Cut("c001", "x", (), 0, 0)
    good = CutCheck(cut, 1e-5, 1.0)
    assert good.passed
    assert not replace(good, max_abs_error=1.1e-5).passed
    assert not replace(good, same_top1=0.875).passed
    assert not replace(good, max_abs_error=float("nan")).passed


def test_synthetic_images_are_reproducible_and_preprocessed(bundle: Bundle) -> None:
    images = synthetic_images(bundle, 3)
    assert (images.shape, images.dtype) == ((3, 16, 16, 3), np.float32)
    np.testing.assert_array_equal(images, synthetic_images(bundle, 3))
    assert 0 <= images.min() < 0.1
    assert 0.9 < images.max() <= 1
    assert not np.array_equal(images, synthetic_images(bundle, 3, seed=1))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_command(bundle: Bundle, runtime: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["cuts", str(bundle.path), "--verify", "--multi-tensor", "--runtime", runtime, "--json"]) == 0
    out, err = capfd.readouterr()
    rows = json.loads(out)
    assert err == ""
    assert [row["name"] for row in rows] == ["image", "first", "norm", "pool", "scores"]
    assert rows[1] | {"largest_difference": 0} == {
        "id": "c001",
        "name": "first",
        "boundary": [{"shape": [14, 14, 8], "datatype": "FP32"}],
        "bytes": 14 * 14 * 8 * 4,
        "smaller_than_all_before": True,
        "head_share": round(14 * 14 * 8 * 27 / (14 * 14 * 8 * 27 + 8 * 5), 6),
        "largest_difference": 0,
        "same_top1": 1.0,
    }
    assert all(row["largest_difference"] <= 1e-5 for row in rows)


def test_the_table(bundle: Bundle, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["cuts", str(bundle.path), "--verify"]) == 0
    out, err = capfd.readouterr()
    assert err.startswith(
        "All 5 cuts give the scores of the whole model on 8 random images; the largest difference is "
    )
    assert err.count("\n") == 1
    lines = out.splitlines()
    assert lines[0].strip() == "made: 5 cuts"
    assert lines[3].split()[:5] == ["c001", "*", "first", "14x14x8", "6,272"]
    assert lines[4].split()[:4] == ["c002", "norm", "14x14x8", "6,272"]
    assert lines[5].split()[:3] == ["c003", "*", "pool"]
