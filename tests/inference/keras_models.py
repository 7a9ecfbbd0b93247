"""Small models of many layers, and a check that a bundle computes the scores of its model at every cut."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.runtimes import RUNTIMES, compile_tail, open_runtime
from hybrid_batch.inference.model.runtimes.verify import TOLERANCE, synthetic_images, verify_cuts

Body = Callable[[ModuleType, Any], Any]


def classifier(keras: ModuleType, body: Body, shape: tuple[int | None, ...] = (16, 16, 3), **last: Any) -> Any:
    """Return a functional Keras 2 or 3 model of 5 classes on the features that `body` computes from the images."""
    keras.utils.set_random_seed(7)
    images = keras.Input(shape)
    scores = keras.layers.Dense(**{"units": 5, "activation": "softmax", "name": "scores"} | last)
    return keras.Model(images, scores(body(keras, images)))


def convolution(keras: ModuleType, x: Any) -> Any:
    x = keras.layers.Conv2D(8, 3, activation="relu", name="first")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    return keras.layers.GlobalAveragePooling2D(name="pool")(keras.layers.Dropout(0.5)(x))


def legacy(keras: ModuleType, x: Any) -> Any:
    return convolution(keras, keras.layers.DepthwiseConv2D(3)(x))


def operators(keras: ModuleType, x: Any) -> Any:
    """Operators that Keras 2 records as TFOpLambda and SlicingOpLambda layers."""
    y = keras.layers.Conv2D(6, 3, padding="same")(x)[:, ::2, ::2] * 2.0 + 1.0
    return keras.layers.GlobalAveragePooling2D()(y)


def inception(keras: ModuleType, x: Any) -> Any:
    layers = keras.layers
    for _ in range(2):
        branches = [layers.Conv2D(4, 1)(x), layers.Conv2D(4, 3, padding="same")(x)]
        x = layers.Concatenate()([*branches, layers.MaxPooling2D(3, 1, "same")(x)])
    return layers.GlobalAveragePooling2D()(x)


def dense_blocks(keras: ModuleType, x: Any) -> Any:
    layers = keras.layers
    x = layers.Conv2D(4, 3, padding="same")(x)
    for _ in range(3):
        y = layers.Conv2D(4, 3, padding="same")(layers.ReLU()(layers.BatchNormalization()(x)))
        x = layers.Concatenate()([x, y])
    return layers.GlobalAveragePooling2D()(x)


def residual(keras: ModuleType, x: Any) -> Any:
    layers = keras.layers
    for _ in range(2):
        y = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 1)(x)))
        y = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(y))
        x = layers.BatchNormalization()(layers.Conv2D(8, 1)(x))
        x = layers.ReLU()(layers.Add()([x, y]))
    return layers.GlobalAveragePooling2D()(x)


def squeeze_excite(keras: ModuleType, x: Any) -> Any:
    layers = keras.layers
    x = layers.Conv2D(8, 3, padding="same")(x)
    gate = layers.Conv2D(2, 1, activation="swish")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    x = layers.Multiply()([x, layers.Conv2D(8, 1, activation="sigmoid")(gate)])
    return layers.GlobalMaxPooling2D()(x)


def attention(keras: ModuleType, x: Any) -> Any:
    layers = keras.layers
    x = layers.Reshape((-1, 12))(layers.Conv2D(12, 4, 4)(x))
    y = layers.LayerNormalization()(x)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 6)(y, y)])
    y = layers.Dense(12)(layers.Dense(24, activation="gelu")(x))
    return layers.GlobalAveragePooling1D()(layers.Add()([x, y]))


def many_layers(keras: ModuleType, x: Any) -> Any:
    layers = keras.layers
    for layer in (
        *(layers.SeparableConv2D(8, 3), layers.DepthwiseConv2D(3), layers.Conv2DTranspose(6, 3, 2)),
        *(layers.GroupNormalization(2), layers.Conv2D(8, 3, groups=2), layers.LeakyReLU(), layers.PReLU()),
        *(layers.ZeroPadding2D(), layers.UpSampling2D(), layers.SpatialDropout2D(0.2), layers.AveragePooling2D(2)),
        *(layers.Permute((2, 1, 3)), layers.Cropping2D(2), layers.Flatten()),
    ):
        x = layer(x)
    return x


def preprocessing(keras: ModuleType, x: Any) -> Any:
    layers = keras.layers
    for layer in (
        *(layers.Resizing(20, 20), layers.RandomFlip(), layers.RandomRotation(0.1), layers.RandomContrast(0.1)),
        *(layers.Rescaling(1 / 255), layers.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.1, 0.2, 0.3])),
        *(layers.CenterCrop(12, 12), layers.Conv2D(4, 3)),
    ):
        x = layer(x)
    return layers.GlobalAveragePooling2D()(x)


def mixed_precision(keras: ModuleType, x: Any) -> Any:
    layers, half = keras.layers, "mixed_float16"
    x = layers.Conv2D(8, 3, activation="relu", dtype=half)(x)
    return layers.GlobalAveragePooling2D(dtype=half)(layers.BatchNormalization(dtype=half)(x))


def recurrent(keras: ModuleType, x: Any) -> Any:
    return keras.layers.Bidirectional(keras.layers.GRU(6))(keras.layers.Reshape((16, -1))(x))


def skip_from_the_input(keras: ModuleType, x: Any) -> Any:
    """A model whose multi-tensor cuts hold the input itself."""
    layers = keras.layers
    small = layers.Conv2D(1, 3, 2, "same")(layers.Conv2D(4, 3, 2, "same")(x))
    return layers.Flatten()(layers.Concatenate()([layers.UpSampling2D(4)(small), x]))


BODIES: dict[str, Body] = {
    body.__name__: body
    for body in (
        *(convolution, inception, dense_blocks, residual, squeeze_excite, attention, many_layers),
        *(preprocessing, recurrent, skip_from_the_input),
    )
}


def assert_equal_scores(
    bundle: Bundle, model: Callable[[np.ndarray], Any], tolerance: float = TOLERANCE, step: int = 1
) -> None:
    """Assert that the bundle's graph gives the model's scores, and so do head and tail of every `step`th cut."""
    images = synthetic_images(bundle, 8)
    expected = np.asarray(model(images), np.float32)
    assert np.ptp(expected, axis=0).max() > 10 * TOLERANCE, "all images have the same scores"
    for name in RUNTIMES:
        runtime = open_runtime(name, bundle, cached=False)
        (found,) = compile_tail(runtime, bundle, bundle.input_cut)([images])
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance, err_msg=name)
        wrong = [found for found in verify_cuts(bundle, runtime, bundle.cuts[::step]) if not found.passed]
        assert not wrong, f"{name}: {wrong}"


def fit_normalisation(keras: ModuleType, model: Any) -> None:
    """Set the statistics of batch normalisation from noise; signals vanish in a deep random model without it."""
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(np.random.default_rng(0).normal(127, 60, (16, *model.input_shape[1:])), training=True)
