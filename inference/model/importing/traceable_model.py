"""The input of freezing: a classifier that TensorFlow can call, and the properties known from its source."""

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
    size: tuple[int, int] | None = None,
    scale: Scale | None = None,
) -> TraceableModel:
    """Wrap a Keras 2 or 3 model, called for inference. Raises ModelRefused and WrongUsage."""
    shape, dtype = _input_of(model, size)
    layers = list(_all_layers(model))
    if scale is None and {type(layer).__name__ for layer in layers} & {"Rescaling", "Normalization"}:
        scale = "0-255"
    return TraceableModel(
        call=lambda image: model(image, training=False),
        shape=image_shape(shape, size),
        dtype=str(getattr(dtype, "name", dtype)),
        layers=frozenset(layer.name for layer in layers),
        scale=scale,
    )


def image_shape(batched: Sequence[int | None], size: tuple[int, int] | None) -> tuple[int, int, int]:
    """Return height, width and channels of an input (batch, height, width, channels); `size` fills an open size.

    Raises ModelRefused if the input is not an image or its size stays open, WrongUsage if `size` contradicts it."""
    shape = "x".join("?" if side is None else str(side) for side in batched)
    if len(batched) != 4 or batched[3] is None:
        raise ModelRefused(f"The model's input is {shape}; an image is needed: batch x height x width x channels.")
    known = (batched[1], batched[2])
    if size is not None and any(side not in (None, given) for side, given in zip(known, size, strict=True)):
        raise WrongUsage(f"The model's input is {shape}, which --size {size[0]}x{size[1]} cannot change; omit --size.")
    height, width = size or known
    if height is None or width is None:
        raise ModelRefused(f"The model's input is {shape}, of open size; set it with --size HEIGHTxWIDTH.")
    return height, width, batched[3]


def _input_of(model: Any, size: tuple[int, int] | None) -> tuple[Sequence[int | None], Any]:  # noqa: ANN401
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
