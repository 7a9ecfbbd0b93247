"""Head and tail against the whole model at every single-tensor cut: `python -m bench.verify_models [NAME …]`.

A check of models too large for the tests: keras.applications with random weights, a nested and a subclassed model, and
the pretrained models whose files exist.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bench.fixtures import SHARED_DATA
from bench.results import report
from hybrid_batch.data.images.decode import Scale
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.importing.importer import ImportSettings, import_model, import_traceable_model
from hybrid_batch.inference.model.importing.traceable_model import wrap_keras_model
from hybrid_batch.inference.model.runtimes import RUNTIMES, compile_tail, open_runtime
from hybrid_batch.inference.model.runtimes.verify import synthetic_images, verify_cuts
from hybrid_batch.inference.model.tensorflow_loader import import_keras, import_tensorflow, suppress_output

APPLICATIONS = ("MobileNetV2", "ResNet50", "InceptionV3", "DenseNet121", "EfficientNetB0")
SCALES: dict[str, Scale] = {
    "cifar10_resnet8.h5": "0-255",
    "fer_mini_xception.hdf5": "-1-1",
    "imagenet_mobilenet_v1_025_224.keras": "-1-1",
}
_Importer = Callable[[Path], Bundle]


def main(names: list[str]) -> int:
    """Verify the named models, by default all; return 1 if a cut changes the results of any."""
    rows = []
    for name, importer in _importers().items():
        if not names or name in names:
            with TemporaryDirectory() as folder:
                start = time.perf_counter()
                bundle = importer(Path(folder) / "model.bundle")
                import_s = time.perf_counter() - start
                for runtime in RUNTIMES:
                    rows.append({"model": name, "import_s": round(import_s, 1), **_verify(bundle, runtime)})
                    print(rows[-1], file=sys.stderr, flush=True)
    report("verify_models", rows)
    return 0 if all(row["passed"] for row in rows) else 1


def _verify(bundle: Bundle, runtime_name: str) -> dict[str, Any]:
    start = time.perf_counter()
    runtime = open_runtime(runtime_name, bundle, cached=False)
    singles = [cut for cut in bundle.cuts if not cut.is_multi_tensor]
    found = list(verify_cuts(bundle, runtime, singles))
    spent = time.perf_counter() - start
    (scores,) = compile_tail(runtime, bundle, bundle.input_cut)([synthetic_images(bundle, 8)])
    return {
        "runtime": runtime_name,
        "cuts": len(singles),
        "multi_tensor_cuts": len(bundle.cuts) - len(singles),
        "max_abs_error": f"{max(cut.max_abs_error for cut in found):.1e}",
        "same_top1": min(cut.same_top1 for cut in found),
        "classes_seen": len(set(scores.argmax(axis=1).tolist())),
        "passed": all(cut.passed for cut in found),
        "seconds": round(spent, 1),
    }


def _importers() -> dict[str, _Importer]:
    return {
        **{name: partial(_application, name) for name in APPLICATIONS},
        "nested": lambda path: (
            import_traceable_model(wrap_keras_model(_nested()), "nested", path, ImportSettings()).bundle
        ),
        "subclassed": lambda path: (
            import_traceable_model(
                wrap_keras_model(_subclassed(), (96, 96)), "subclassed", path, ImportSettings()
            ).bundle
        ),
        **{file.name: _imported(str(file), SCALES.get(file.name, "0-1")) for file in _files()},
    }


def _application(name: str, path: Path) -> Bundle:
    """Import `app:NAME` with weights that give different images different scores."""
    images = synthetic_images(import_model(f"app:{name}", path, ImportSettings()).bundle, 16, seed=1)
    with suppress_output():
        model = getattr(import_keras(3).applications, name)(weights=None)
    _fit_normalisation(model.layers, model, images)
    weights = path.parent / f"{name}.weights.h5"
    model.save_weights(weights)
    return import_model(f"app:{name}", path, ImportSettings(weights=str(weights))).bundle


def _fit_normalisation(layers: Sequence[Any], model: Any, images: np.ndarray) -> None:  # noqa: ANN401
    """Set batch normalisation to the statistics of the images. With Keras' initial values a signal vanishes in a deep
    random model, which then gives every image the same scores, and the check would be void."""
    for layer in layers:
        if isinstance(layer, import_keras(3).layers.BatchNormalization):
            layer.momentum = 0.0
    model(images, training=True)


def _imported(text: str, scale: Scale | None) -> _Importer:
    return lambda path: import_model(text, path, ImportSettings(scale=scale)).bundle


def _files() -> Iterator[Path]:
    yield from sorted((SHARED_DATA / "models").glob("*")) if SHARED_DATA.is_dir() else ()


def _nested() -> Any:  # noqa: ANN401
    keras = import_keras(3)
    layers = keras.layers
    body = keras.applications.MobileNetV2(weights=None, include_top=False, pooling="avg", input_shape=(224, 224, 3))
    model = keras.Sequential(
        [keras.Input((224, 224, 3)), layers.Rescaling(1 / 127.5, -1), body, layers.Dense(10, "softmax")]
    )
    _fit_normalisation(body.layers, model, np.random.default_rng(0).uniform(0, 255, (16, 224, 224, 3)))
    return model


def _subclassed() -> Any:  # noqa: ANN401
    keras, tf = import_keras(3), import_tensorflow()
    layers = keras.layers

    class Residual(keras.Model):  # type: ignore[misc, name-defined]
        """Unnamed convolutions that are added in a loop."""

        def __init__(self) -> None:
            super().__init__()
            self.first = layers.Conv2D(16, 3, strides=2, activation="relu")
            self.blocks = [layers.Conv2D(16, 3, padding="same") for _ in range(8)]
            self.last = layers.Dense(10, "softmax")

        def call(self, images: Any) -> Any:  # noqa: ANN401
            found = self.first(images)
            for block in self.blocks:
                found = found + tf.nn.relu(block(found))
            return self.last(tf.reduce_mean(found, (1, 2)))

    with suppress_output():
        return Residual()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
