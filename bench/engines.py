"""Whole-model images/s: our runtimes, Keras `model.predict`, and `tf.function`."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bench.fixtures import import_bundle, keras_models
from bench.results import Spread, rates, ratios, report
from hybrid_batch.inference.model.runtimes import compile_tail, open_runtime


def main() -> None:
    """Measure and report."""
    rows = []
    with TemporaryDirectory() as folder:
        for name, model in keras_models().items():
            bundle = import_bundle(model, Path(folder))
            ours = {
                name: compile_tail(open_runtime(name, bundle, cached=False), bundle, bundle.input_cut)
                for name in ("openvino", "tensorflow")
            }
            for batch in (1, 8, 32):
                images = np.random.default_rng(0).random((batch, *bundle.input.shape), np.float32)
                found = rates(
                    {
                        "openvino": _counted(partial(ours["openvino"], [images]), batch),
                        "tensorflow": _counted(partial(ours["tensorflow"], [images]), batch),
                        "predict": _counted(partial(model.predict, images, batch_size=batch, verbose=0), batch),
                        "tf.function": _counted(partial(_as_function(model), images), batch),
                    }
                )
                rows.append(
                    {"model": name, "batch": batch}
                    | {f"{baseline} images/s": Spread.of(rate).median for baseline, rate in found.items()}
                    | {
                        "openvino / predict": ratios(found["openvino"], found["predict"]),
                        "openvino / tf.function": ratios(found["openvino"], found["tf.function"]),
                    }
                )
    report("engines", rows)


def _counted(call: Callable[[], object], images: int) -> Callable[[], int]:
    def once() -> int:
        call()
        return images

    return once


def _as_function(model: Any) -> Callable[[np.ndarray], object]:  # noqa: ANN401
    from hybrid_batch.inference.model.tensorflow_loader import import_tensorflow

    tf = import_tensorflow()
    function = tf.function(lambda x: model(x, training=False))
    return lambda images: function(tf.constant(images)).numpy()


if __name__ == "__main__":
    main()
