"""The input of freezing: a classifier that TensorFlow can call, and the properties known from its source."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hybrid_batch.data.errors import ModelRefused, WrongUsage
from hybrid_batch.data.images.decode import Scale


@dataclass(frozen=True, slots=True)
class TraceableModel:
    """A classifier. `call` takes one batch tensor of `dtype` and returns scores; `shape` is (height, width, channels).

    `layers` are the layer names that the user knows, empty if unknown. `scale` is None unless the source defines it:
    keras.applications, models with their own scaling layers, and models with integer input. `has_random_weights` is
    true for an application without trained weights."""

    call: Callable[[Any], Any]
    shape: tuple[int, int, int]
    dtype: str
    layers: frozenset[str]
    scale: Scale | None
    has_random_weights: bool = False


def wrap_keras_model(
    model: Any,  # noqa: ANN401
    size: tuple[int, ...] | None = None,
    scale: Scale | None = None,
) -> TraceableModel:
    """Wrap a Keras 2 or 3 model, called for inference. Raises ModelRefused and WrongUsage."""
    shape, dtype = _input_of(model, size)
    images = image_input(shape, size)
    layers = list(_all_layers(model))
    if scale is None and {type(layer).__name__ for layer in layers} & {"Rescaling", "Normalization"}:
        scale = "0-255"
    return TraceableModel(
        call=images.adapt(lambda image: model(image, training=False)),
        shape=images.shape,
        dtype=str(getattr(dtype, "name", dtype)),
        layers=frozenset(layer.name for layer in layers),
        scale=scale,
    )


@dataclass(frozen=True, slots=True)
class ImageInput:
    """The (height, width, channels) of a model's images, and the shape that the model itself takes for one image."""

    shape: tuple[int, int, int]
    model_shape: tuple[int, ...]

    def adapt(self, call: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return `call` for images of `shape`: their values are passed row by row, channels last."""
        if self.model_shape == self.shape:
            return call

        def reshape_and_call(images: Any) -> Any:  # noqa: ANN401
            import tensorflow as tf

            return call(tf.reshape(images, (-1, *self.model_shape), name="reshape"))

        return reshape_and_call


def image_input(batched: Sequence[int | None], size: tuple[int, ...] | None) -> ImageInput:
    """Return the image input of a model whose input is (batch, height, width, channels), (batch, height, width) or the
    flat vector (batch, values).

    `size` is (height, width) or (height, width, channels), for an open size or a flat vector. Raises ModelRefused if
    the input is not an image or its size stays open, WrongUsage if `size` contradicts it."""
    shape = "x".join("?" if side is None else str(side) for side in batched[1:])
    if len(batched) == 2 and batched[1] is not None:
        return _flat_input(shape, batched[1], size)
    if len(batched) not in (3, 4) or (len(batched) == 4 and batched[3] is None):
        raise ModelRefused(f"The model's input is {shape}; an image is needed: height x width x channels.")
    known = (*batched[1:3], batched[3] if len(batched) == 4 else 1)
    if size is not None and any(side not in (None, given) for side, given in zip(known, size, strict=False)):
        raise WrongUsage(f"The model's input is {shape}, which --size {_text(size)} cannot change; omit --size.")
    height, width, channels = *((size or known)[:2]), known[2]
    if height is None or width is None or channels is None:
        raise ModelRefused(f"The model's input is {shape}, of open size; set it with --size HEIGHTxWIDTH.")
    return ImageInput((height, width, channels), (height, width, channels)[: len(batched) - 1])


def _flat_input(shape: str, values: int, size: tuple[int, ...] | None) -> ImageInput:
    if size is None:
        sides = [(math.isqrt(values // channels), channels) for channels in (1, 3)]
        square = next(
            (f", such as {side}x{side}x{channels}" for side, channels in sides if side**2 * channels == values), ""
        )
        raise ModelRefused(
            f"The model's input is {shape}, a flat vector; set the image's size with --size HEIGHTxWIDTH{square}."
        )
    channels = size[2] if len(size) == 3 else values // (size[0] * size[1])
    if channels not in (1, 3) or size[0] * size[1] * channels != values:
        raise WrongUsage(
            f"The model's input is {shape}, and an image of --size {_text(size)} does not have {values} values; choose "
            "height, width and 1 or 3 channels whose product this is."
        )
    return ImageInput((size[0], size[1], channels), (values,))


def _text(size: tuple[int, ...]) -> str:
    return "x".join(map(str, size))


def _input_of(model: Any, size: tuple[int, ...] | None) -> tuple[Sequence[int | None], Any]:  # noqa: ANN401
    """The shape of the model's input, batch first, and its datatype."""
    try:
        inputs = model.inputs
    except (AttributeError, ValueError):  # Keras versions differ for a model that was never built
        inputs = None
    if not inputs:
        if size is None:
            raise ModelRefused(f"The model {model.name!r} was never built, so its input is unknown; add --size.")
        return (None, None, None, 3), "float32"
    if len(inputs) != 1:
        raise ModelRefused(f"The model {model.name!r} takes {len(inputs)} inputs; one image input is needed.")
    return tuple(inputs[0].shape), inputs[0].dtype


def _all_layers(model: Any) -> Iterator[Any]:  # noqa: ANN401
    yield model
    for layer in getattr(model, "layers", ()):
        yield from _all_layers(layer)
