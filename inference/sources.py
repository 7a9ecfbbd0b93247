"""What a model can be imported from: a traced function and what its source lets us assume.

A `.keras` or `.h5` file, a SavedModel folder, `app:NAME` of keras.applications, or a model object.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.decode import Scale
from data.errors import ModelRefused, NotABundle, WrongUsage
from inference.frameworks import import_keras, import_tensorflow, quiet
from inference.keras_files import read_keras

APP = "app:"
_KERAS_SUFFIXES = {".keras", ".h5", ".hdf5"}
# How each family of keras.applications wants its pixels (its own `preprocess_input`).
_APP_SCALES: dict[Scale, tuple[str, ...]] = {
    "caffe": ("ResNet50", "ResNet101", "ResNet152", "VGG16", "VGG19"),
    "torch": ("DenseNet121", "DenseNet169", "DenseNet201"),
    "-1-1": (
        *("InceptionV3", "InceptionResNetV2", "MobileNet", "MobileNetV2", "NASNetLarge", "NASNetMobile"),
        *("ResNet50V2", "ResNet101V2", "ResNet152V2", "Xception"),
    ),
}
_SCALE_OF_APP = {app: scale for scale, apps in _APP_SCALES.items() for app in apps}


@dataclass(frozen=True, slots=True)
class Source:
    """A traced classifier: `function` is a concrete TensorFlow function of one image batch. `scale` is known
    for keras.applications and for models that scale their input themselves, else None."""

    function: Any
    layers: frozenset[str]
    scale: Scale | None


def load_source(text: str, *, size: tuple[int, int] | None, weights: str, classes: int | None, trust: bool) -> Source:
    """Load and trace what `text` names. Raises NotABundle, ModelRefused, WrongUsage, MissingExtra."""
    if text.startswith(APP):
        return _app(text.removeprefix(APP), size, weights, classes)
    path = Path(text)
    if path.is_dir():
        return _saved_model(path)
    if path.suffix.lower() in _KERAS_SUFFIXES:
        return trace(read_keras(path, trust=trust), size)
    raise NotABundle(
        f"{text} is no model: a bundle, a .keras, .h5 or .hdf5 file, a SavedModel folder or app:NAME is needed."
    )


def trace(model: Any, size: tuple[int, int] | None = None, scale: Scale | None = None) -> Source:  # noqa: ANN401
    """Trace a Keras 2 or 3 model object for inference."""
    tf = import_tensorflow()
    shape, dtype = _input_of(model, size)
    with quiet():
        function = tf.function(
            lambda image: model(image, training=False), input_signature=[tf.TensorSpec(shape, dtype, "image")]
        ).get_concrete_function()
    layers = list(_all_layers(model))
    if scale is None and {type(layer).__name__ for layer in layers} & {"Rescaling", "Normalization"}:
        scale = "0-255"
    return Source(function, frozenset(layer.name for layer in layers), scale)


def _app(name: str, size: tuple[int, int] | None, weights: str, classes: int | None) -> Source:
    applications = import_keras(3).applications
    maker = getattr(applications, name, None)
    if not callable(maker):
        names = sorted(known for known in dir(applications) if known[0].isupper())
        raise NotABundle(f"keras.applications has no {name!r}; it has {', '.join(names)}.")
    if weights not in ("none", "imagenet") and not Path(weights).is_file():
        raise WrongUsage(f"--weights {weights} is neither none, imagenet nor a file.")
    import_keras(3).utils.set_random_seed(0)  # random weights are the same at every import
    options: dict[str, Any] = {"weights": None if weights == "none" else weights}
    if weights != "imagenet" and classes is not None:
        options["classes"] = classes
    if size is not None:
        options["input_shape"] = (*size, 3)
    try:
        with quiet():
            model = maker(**options)
    except Exception as error:  # downloads, shapes and files fail in as many ways as there are
        line = str(error).strip().splitlines()[0]
        raise NotABundle(f"keras.applications cannot make {name} with weights {weights}: {line}") from error
    return trace(model, size, _SCALE_OF_APP.get(name, "0-255"))


def _saved_model(path: Path) -> Source:
    if not (path / "saved_model.pb").is_file():
        raise NotABundle(f"{path} is neither a bundle (no bundle.json) nor a SavedModel (no saved_model.pb).")
    tf = import_tensorflow()
    try:
        with quiet():
            loaded = tf.saved_model.load(str(path))
    except Exception as error:  # a reader of foreign files raises anything
        raise NotABundle(f"TensorFlow cannot read {path}: {str(error).strip().splitlines()[0]}") from error
    signatures = dict(loaded.signatures)
    function = signatures.get("serving_default") or signatures.get("serve")
    if function is None and len(signatures) == 1:
        (function,) = signatures.values()
    if function is None:
        raise ModelRefused(
            f"{path} has no signature to serve (it has {sorted(signatures) or 'none'});"
            " save it with model.export() or tf.saved_model.save(model, path, signatures=…)."
        )
    function._keep = loaded
    return Source(function, frozenset(), None)


def _input_of(model: Any, size: tuple[int, int] | None) -> tuple[list[int | None], Any]:  # noqa: ANN401
    inputs = getattr(model, "inputs", None)
    if not inputs:
        if size is None:
            raise ModelRefused(f"The model {model.name!r} was never built, so its input is unknown; add --size.")
        return [None, *size, 3], "float32"
    if len(inputs) != 1:
        raise ModelRefused(f"The model {model.name!r} takes {len(inputs)} inputs; one image input is needed.")
    shape = list(inputs[0].shape)
    if len(shape) == 4 and size is not None:
        shape[1:3] = [given if known is None else known for known, given in zip(shape[1:3], size, strict=True)]
    return [None, *shape[1:]], inputs[0].dtype


def _all_layers(model: Any) -> Any:  # noqa: ANN401
    yield model
    for layer in getattr(model, "layers", ()):
        yield from _all_layers(layer)
