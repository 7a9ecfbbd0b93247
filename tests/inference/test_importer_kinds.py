"""Every kind of model imports, computes what it did, and can be cut anywhere."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.importing.importer import ImportSettings, import_model, import_source
from hybrid_batch.inference.model.importing.traceable_model import trace
from tests.inference.made_models import (
    BODIES,
    classifier,
    convolution,
    fit_normalisation,
    legacy,
    mixed_precision,
    operators,
    prove,
)

pytestmark = pytest.mark.usefixtures("quietly")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "made.bundle"


def of_model(model: Any, place: Path, **stated: Any) -> Bundle:
    settings = ImportSettings(**stated)
    return import_source(trace(model, settings.size), "made", place, settings).bundle


def of_file(file: Path, place: Path, **stated: Any) -> Bundle:
    return import_model(str(file), place, ImportSettings(**stated)).bundle


@pytest.mark.parametrize("body", BODIES)
def test_layers_of_every_sort(keras: ModuleType, place: Path, body: str) -> None:
    model = classifier(keras, BODIES[body])
    prove(of_model(model, place), lambda images: model(images, training=False))


def test_frontiers_may_hold_the_input(keras: ModuleType, place: Path) -> None:
    bundle = of_model(classifier(keras, BODIES["skip_from_the_input"]), place)
    assert not any(bundle.input in cut.boundary for cut in bundle.cuts if cut.is_frontier)  # the input alone beats it
    assert any(cut.is_frontier for cut in of_model(classifier(keras, BODIES["recurrent"]), place).cuts)


def test_a_nested_model_keeps_the_names_its_user_knows(keras: ModuleType, place: Path) -> None:
    layers = keras.layers
    keras.utils.set_random_seed(7)
    inner = keras.applications.MobileNetV2(
        input_shape=(32, 32, 3), alpha=0.35, include_top=False, weights=None, pooling="avg"
    )
    model = keras.Sequential(
        [keras.Input((32, 32, 3)), layers.Rescaling(1 / 127.5, -1), inner, layers.Dense(4, "softmax")]
    )
    fit_normalisation(keras, model)
    bundle = of_model(model, place)
    assert bundle.preparation.scale == "0-255"
    assert bundle.cut("block_6_project_BN").name == f"{inner.name}/block_6_project_BN"
    prove(bundle, model, 1e-4, step=15)  # Keras and OpenVINO round apart through 50 layers; the cuts do not


def test_a_subclassed_model(tf: ModuleType, keras: ModuleType, place: Path) -> None:
    class Residual(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.first = keras.layers.Conv2D(4, 3)
            self.blocks = [keras.layers.Conv2D(4, 3, padding="same") for _ in range(3)]
            self.last = keras.layers.Dense(5, "softmax")

        def call(self, x: Any, training: bool = False) -> Any:
            x = self.first(x)
            for block in self.blocks:
                x = x + tf.nn.relu(block(x))
            return self.last(tf.reduce_mean(x, (1, 2)))

    keras.utils.set_random_seed(7)
    model = Residual()
    bundle = of_model(model, place, size=(16, 16))
    assert bundle.input.shape == (16, 16, 3)
    prove(bundle, model)


def test_layers_whose_names_are_numbered_keep_them(keras: ModuleType, tf_keras: ModuleType, place: Path) -> None:
    for maker in (keras, tf_keras):
        layers = maker.layers
        model = maker.Sequential(
            [
                *(maker.Input((8, 8, 1)), layers.Flatten(name="flat"), layers.Dense(9, "relu", name="dense")),
                *(layers.Dense(7, "relu", name="dense_1"), layers.Dense(5, "softmax", name="dense_2")),
            ]
        )
        cuts = [(cut.name, cut.elements) for cut in of_model(model, place).cuts]
        assert cuts == [("image", 64), ("flat", 64), ("dense", 9), ("dense_1", 7), ("dense_2", 5)]


@pytest.mark.parametrize(
    ("last", "kind", "labels"),
    [
        ({"units": 1, "activation": "sigmoid"}, "probabilities", 2),
        ({"units": 1, "activation": None}, "logits", 2),
        ({"activation": None}, "logits", 5),
        ({"dtype": "mixed_float16"}, "probabilities", 5),
    ],
    ids=["sigmoid", "one logit", "logits", "half"],
)
def test_outputs(keras: ModuleType, place: Path, last: dict[str, Any], kind: str, labels: int) -> None:
    model = classifier(keras, convolution, **last)
    bundle = of_model(model, place)
    assert (bundle.output_kind, len(bundle.labels), bundle.output.datatype) == (kind, labels, "FP32")
    prove(bundle, model, 1e-3 if "dtype" in last else 1e-5)


def test_a_softmax_layer_gives_probabilities(keras: ModuleType, place: Path) -> None:
    model = classifier(keras, convolution, activation=None)
    model = keras.Sequential([model, keras.layers.Softmax()])
    assert of_model(model, place).output_kind == "probabilities"


def test_half_precision_becomes_single(keras: ModuleType, place: Path) -> None:
    model = classifier(keras, mixed_precision, dtype="float32")
    bundle = of_model(model, place)
    assert {tensor.datatype for cut in bundle.cuts for tensor in cut.boundary} == {"FP32"}
    prove(bundle, model, 2e-3)  # what rounding to 10 bits costs the model; its cuts still agree to 1e-5


def test_the_size_can_be_left_open(keras: ModuleType, place: Path) -> None:
    model = classifier(keras, convolution, (None, None, 1))
    bundle = of_model(model, place, size=(20, 12))
    assert bundle.input.shape == (20, 12, 1)
    assert (bundle.preparation.height, bundle.preparation.width, bundle.preparation.colour) == (20, 12, "grey")
    prove(bundle, model)


@pytest.mark.parametrize("name", ["made.keras", "made.h5", "made.hdf5", "MADE.H5", "h5 named.keras"])
def test_files_of_keras_3(keras: ModuleType, tmp_path: Path, place: Path, name: str) -> None:
    model = classifier(keras, convolution)
    model.save(tmp_path / ("saved.keras" if name == "made.keras" else "saved.h5"))
    file = next(tmp_path.glob("saved.*")).rename(tmp_path / name)
    bundle = of_file(file, place)
    assert (bundle.source, bundle.name) == (name, "made")
    assert [cut.name for cut in bundle.cuts][:3] == ["image", "first", "norm"]
    prove(bundle, model)


@pytest.mark.parametrize("body", [convolution, legacy, operators])
@pytest.mark.parametrize("name", ["made.h5", "made.keras"])
def test_files_of_keras_2(tf_keras: ModuleType, tmp_path: Path, place: Path, body: Any, name: str) -> None:
    model = classifier(tf_keras, body)
    model.save(tmp_path / name)
    prove(of_file(tmp_path / name, place), model)


def test_a_saved_model_exported_by_keras_3(keras: ModuleType, tmp_path: Path, place: Path) -> None:
    model = classifier(keras, convolution)
    model.export(tmp_path / "saved", verbose=False)
    prove(of_file(tmp_path / "saved", place), model)


def test_saved_models_of_keras_2(tf: ModuleType, tf_keras: ModuleType, tmp_path: Path, place: Path) -> None:
    class Subclassed(tf_keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.body = classifier(tf_keras, convolution)

        def call(self, x: Any) -> Any:
            scores = self.body(x)
            return tf.cond(tf.reduce_sum(scores) > 0, lambda: scores, lambda: scores * 0)

    model = Subclassed()
    model(np.zeros((1, 16, 16, 3), np.float32))
    tf.saved_model.save(model, str(tmp_path / "subclassed"))
    functional = classifier(tf_keras, convolution)
    functional.save(tmp_path / "functional", save_format="tf")
    prove(of_file(tmp_path / "functional", place), functional)
    prove(of_file(tmp_path / "subclassed", place), model)


@pytest.mark.parametrize("signed", [True, False], ids=["signature", "only a call"])
@pytest.mark.parametrize("dtype", ["float32", "uint8", "float16", "float64"])
def test_saved_modules(tf: ModuleType, tmp_path: Path, place: Path, dtype: str, signed: bool) -> None:
    class Module(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            values = np.random.default_rng(0).normal(0, 0.01, (12 * 12 * 3, 4))
            self.weights = tf.Variable(values.astype(np.float32))

        @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), dtype, "pixels")])
        def __call__(self, pixels: Any) -> Any:
            tf.debugging.assert_non_negative(pixels)
            flat = tf.reshape(tf.cast(pixels, tf.float32), (-1, 12 * 12 * 3))
            return tf.nn.softmax(flat @ self.weights)

    module = Module()
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures=module.__call__ if signed else {})
    bundle = of_file(tmp_path / "saved", place, size=(12, 12))
    assert bundle.input.datatype == "FP32"
    assert bundle.preparation.scale == ("0-255" if dtype == "uint8" else "0-1")
    prove(bundle, lambda images: module(tf.cast(images, dtype)), 1e-3 if dtype == "float16" else 1e-5)


def test_a_saved_model_of_tensorflow_1(tf: ModuleType, tmp_path: Path, place: Path) -> None:
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        images = v1.placeholder(tf.float32, (None, 8, 8, 1), "images")
        weights = v1.get_variable("weights", (64, 3), use_resource=False)
        scores = tf.nn.softmax(tf.matmul(tf.reshape(images, (-1, 64)), weights))
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(tmp_path / "saved"), {"images": images}, {"scores": scores})
        values = session.run(weights)
    prove(
        of_file(tmp_path / "saved", place),
        lambda images: tf.nn.softmax(images.reshape(-1, 64) @ values).numpy(),
    )


def test_an_application(keras: ModuleType, tmp_path: Path, place: Path) -> None:
    classes = tmp_path / "classes.txt"
    classes.write_text("cat\ndog\nfox\n\n")
    bundle = of_file(Path("app:MobileNet"), place, size=(32, 32), classes=classes)
    assert (bundle.source, bundle.labels, bundle.preparation.scale) == ("app:MobileNet", ("cat", "dog", "fox"), "-1-1")
    assert bundle.sha256 == of_file(Path("app:MobileNet"), place, size=(32, 32), classes=classes).sha256

    model = keras.applications.MobileNet(input_shape=(32, 32, 3), weights=None, classes=3)
    model.save_weights(tmp_path / "own.weights.h5")
    weights = str(tmp_path / "own.weights.h5")
    other = of_file(Path("app:MobileNet"), place, size=(32, 32), classes=classes, weights=weights)
    assert other.sha256 != bundle.sha256
