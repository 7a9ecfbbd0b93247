"""Every kind of model can be imported and cut anywhere, and computes the same scores."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.importing.importer import ImportSettings, import_model, import_traceable_model
from hybrid_batch.inference.model.importing.traceable_model import wrap_keras_model
from tests.inference.keras_models import (
    BODIES,
    assert_equal_scores,
    classifier,
    convolution,
    fit_normalisation,
    legacy,
    mixed_precision,
    operators,
)

pytestmark = pytest.mark.usefixtures("suppressed_output")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made.bundle"


def import_keras_model(model: Any, path: Path, **given: Any) -> Bundle:
    settings = ImportSettings(**given)
    return import_traceable_model(wrap_keras_model(model, settings.size), "made", path, settings).bundle


def import_file(file: Path, path: Path, **given: Any) -> Bundle:
    return import_model(str(file), path, ImportSettings(**given)).bundle


@pytest.mark.parametrize("body", BODIES)
def test_layers_of_every_kind(keras: ModuleType, path: Path, body: str) -> None:
    model = classifier(keras, BODIES[body])
    assert_equal_scores(import_keras_model(model, path), lambda images: model(images, training=False))


def test_multi_tensor_cuts_may_hold_the_input(keras: ModuleType, path: Path) -> None:
    bundle = import_keras_model(classifier(keras, BODIES["skip_from_the_input"]), path)
    assert not any(bundle.input in cut.boundary for cut in bundle.cuts if cut.is_multi_tensor)
    assert any(cut.is_multi_tensor for cut in import_keras_model(classifier(keras, BODIES["recurrent"]), path).cuts)


def test_a_nested_model_keeps_its_layer_names(keras: ModuleType, path: Path) -> None:
    layers = keras.layers
    keras.utils.set_random_seed(7)
    inner = keras.applications.MobileNetV2(
        input_shape=(32, 32, 3), alpha=0.35, include_top=False, weights=None, pooling="avg"
    )
    model = keras.Sequential(
        [keras.Input((32, 32, 3)), layers.Rescaling(1 / 127.5, -1), inner, layers.Dense(4, "softmax")]
    )
    fit_normalisation(keras, model)
    bundle = import_keras_model(model, path)
    assert bundle.preprocessing.scale == "0-255"
    assert bundle.cut("block_6_project_BN").name == f"{inner.name}/block_6_project_BN"
    # Keras and OpenVINO round differently in 50 layers; head and tail agree with the whole model.
    assert_equal_scores(bundle, model, 1e-4, step=15)


def test_a_subclassed_model(tf: ModuleType, keras: ModuleType, path: Path) -> None:
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
    bundle = import_keras_model(model, path, size=(16, 16))
    assert bundle.input.shape == (16, 16, 3)
    assert_equal_scores(bundle, model)


def test_numbered_layers_keep_their_names(keras: ModuleType, tf_keras: ModuleType, path: Path) -> None:
    for maker in (keras, tf_keras):
        layers = maker.layers
        model = maker.Sequential(
            [
                *(maker.Input((8, 8, 1)), layers.Flatten(name="flat"), layers.Dense(9, "relu", name="dense")),
                *(layers.Dense(7, "relu", name="dense_1"), layers.Dense(5, "softmax", name="dense_2")),
            ]
        )
        cuts = [(cut.name, cut.elements) for cut in import_keras_model(model, path).cuts]
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
def test_outputs(keras: ModuleType, path: Path, last: dict[str, Any], kind: str, labels: int) -> None:
    model = classifier(keras, convolution, **last)
    bundle = import_keras_model(model, path)
    assert (bundle.output_kind, len(bundle.labels), bundle.output.datatype) == (kind, labels, "FP32")
    assert_equal_scores(bundle, model, 1e-3 if "dtype" in last else 1e-5)


def test_a_softmax_layer_gives_probabilities(keras: ModuleType, path: Path) -> None:
    model = classifier(keras, convolution, activation=None)
    model = keras.Sequential([model, keras.layers.Softmax()])
    assert import_keras_model(model, path).output_kind == "probabilities"


def test_float16_becomes_float32(keras: ModuleType, path: Path) -> None:
    model = classifier(keras, mixed_precision, dtype="float32")
    bundle = import_keras_model(model, path)
    assert {tensor.datatype for cut in bundle.cuts for tensor in cut.boundary} == {"FP32"}
    assert_equal_scores(bundle, model, 2e-3)  # the model rounds to 10 bits; its cuts agree to 1e-5


def test_an_open_input_size_is_set(keras: ModuleType, path: Path) -> None:
    model = classifier(keras, convolution, (None, None, 1))
    bundle = import_keras_model(model, path, size=(20, 12))
    assert bundle.input.shape == (20, 12, 1)
    assert (bundle.preprocessing.height, bundle.preprocessing.width, bundle.preprocessing.colour) == (20, 12, "grey")
    assert_equal_scores(bundle, model)


@pytest.mark.parametrize("name", ["made.keras", "made.h5", "made.hdf5", "MADE.H5", "h5 named.keras"])
def test_files_of_keras_3(keras: ModuleType, tmp_path: Path, path: Path, name: str) -> None:
    model = classifier(keras, convolution)
    model.save(tmp_path / ("saved.keras" if name == "made.keras" else "saved.h5"))
    file = next(tmp_path.glob("saved.*")).rename(tmp_path / name)
    bundle = import_file(file, path)
    assert (bundle.source, bundle.name) == (name, "made")
    assert [cut.name for cut in bundle.cuts][:3] == ["image", "first", "norm"]
    assert_equal_scores(bundle, model)


@pytest.mark.parametrize("body", [convolution, legacy, operators])
@pytest.mark.parametrize("name", ["made.h5", "made.keras"])
def test_files_of_keras_2(tf_keras: ModuleType, tmp_path: Path, path: Path, body: Any, name: str) -> None:
    model = classifier(tf_keras, body)
    model.save(tmp_path / name)
    assert_equal_scores(import_file(tmp_path / name, path), model)


def test_a_saved_model_exported_by_keras_3(keras: ModuleType, tmp_path: Path, path: Path) -> None:
    model = classifier(keras, convolution)
    model.export(tmp_path / "saved", verbose=False)
    assert_equal_scores(import_file(tmp_path / "saved", path), model)


def test_saved_models_of_keras_2(tf: ModuleType, tf_keras: ModuleType, tmp_path: Path, path: Path) -> None:
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
    assert_equal_scores(import_file(tmp_path / "functional", path), functional)
    assert_equal_scores(import_file(tmp_path / "subclassed", path), model)


@pytest.mark.parametrize("signed", [True, False], ids=["signature", "only a call"])
@pytest.mark.parametrize("dtype", ["float32", "uint8", "float16", "float64"])
def test_saved_modules(tf: ModuleType, tmp_path: Path, path: Path, dtype: str, signed: bool) -> None:
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
    bundle = import_file(tmp_path / "saved", path, size=(12, 12))
    assert bundle.input.datatype == "FP32"
    assert bundle.preprocessing.scale == ("0-255" if dtype == "uint8" else "0-1")
    assert_equal_scores(bundle, lambda images: module(tf.cast(images, dtype)), 1e-3 if dtype == "float16" else 1e-5)


def test_a_saved_model_of_tensorflow_1(tf: ModuleType, tmp_path: Path, path: Path) -> None:
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        images = v1.placeholder(tf.float32, (None, 8, 8, 1), "images")
        weights = v1.get_variable("weights", (64, 3), use_resource=False)
        scores = tf.nn.softmax(tf.matmul(tf.reshape(images, (-1, 64)), weights))
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(tmp_path / "saved"), {"images": images}, {"scores": scores})
        values = session.run(weights)
    assert_equal_scores(
        import_file(tmp_path / "saved", path),
        lambda images: tf.nn.softmax(images.reshape(-1, 64) @ values).numpy(),
    )


def test_an_application(keras: ModuleType, tmp_path: Path, path: Path) -> None:
    classes = tmp_path / "classes.txt"
    classes.write_text("cat\ndog\nfox\n\n")
    bundle = import_file(Path("app:MobileNet"), path, size=(32, 32), classes=classes)
    assert (bundle.source, bundle.labels, bundle.preprocessing.scale) == (
        "app:MobileNet",
        ("cat", "dog", "fox"),
        "-1-1",
    )
    assert bundle.sha256 == import_file(Path("app:MobileNet"), path, size=(32, 32), classes=classes).sha256

    model = keras.applications.MobileNet(input_shape=(32, 32, 3), weights=None, classes=3)
    model.save_weights(tmp_path / "own.weights.h5")
    weights = str(tmp_path / "own.weights.h5")
    other = import_file(Path("app:MobileNet"), path, size=(32, 32), classes=classes, weights=weights)
    assert other.sha256 != bundle.sha256
