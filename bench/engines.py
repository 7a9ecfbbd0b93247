"""Whole-model images/s: our engines, Keras `model.predict`, and `tf.function`."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bench.results import Spread, rates, ratios, report
from bench.fixtures import bundle_of, keras_models
from hybrid_batch.inference.model.runtimes import compile_tail, open_runtime


def main() -> None:
    """Measure and report."""
    rows = []
    with TemporaryDirectory() as folder:
        for name, model in keras_models().items():
            bundle = bundle_of(model, Path(folder))
            ours = {
                engine: compile_tail(open_runtime(engine, bundle, cached=False), bundle, bundle.input_cut)
                for engine in ("openvino", "tensorflow")
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
                    | {f"{contender} images/s": Spread.of(rate).median for contender, rate in found.items()}
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
