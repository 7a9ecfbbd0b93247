"""Load the models of keras.applications by `app:NAME`."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from hybrid_batch.data.errors import NotABundle, WrongUsage
from hybrid_batch.data.images.decode import Scale
from hybrid_batch.inference.model.importing.keras.keras_files import check_weights
from hybrid_batch.inference.model.importing.traceable_model import TraceableModel, wrap_keras_model
from hybrid_batch.inference.model.tensorflow_loader import first_line, import_keras, suppress_output

APP = "app:"
_DOWNLOAD_TIMEOUT_S = 10.0
# The pixel scale of each family, as in its own `preprocess_input`. All other families scale pixels in the model.
_SCALES: dict[Scale, tuple[str, ...]] = {
    "caffe": ("ResNet50", "ResNet101", "ResNet152", "VGG16", "VGG19"),
    "torch": ("DenseNet121", "DenseNet169", "DenseNet201"),
    "-1-1": (
        *("InceptionV3", "InceptionResNetV2", "MobileNet", "MobileNetV2", "NASNetLarge", "NASNetMobile"),
        *("ResNet50V2", "ResNet101V2", "ResNet152V2", "Xception"),
    ),
}
_SCALE_OF = {app: scale for scale, apps in _SCALES.items() for app in apps}


def load_application(reference: str, size: tuple[int, ...] | None, weights: str, classes: int | None) -> TraceableModel:
    """Load the model `app:NAME`. `weights` is none (random, equal in every import), imagenet or a file.

    Raises NotABundle, WrongUsage, MissingExtra."""
    keras = import_keras(3)
    name = reference.removeprefix(APP)
    known = [word for word in dir(keras.applications) if word[0].isupper()]
    if name not in known:
        similar = get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(similar)}?" if similar else f"it has {', '.join(known)}."
        raise NotABundle(f"keras.applications has no {name!r}; {hint}")
    if weights not in ("none", "imagenet") and not Path(weights).is_file():
        raise WrongUsage(f"--weights {weights} is neither none, imagenet nor a file.")
    if weights not in ("none", "imagenet"):
        check_weights(Path(weights))
    options: dict[str, Any] = {"weights": None if weights == "none" else weights}
    if weights != "imagenet" and classes is not None:
        options["classes"] = classes
    if size is not None:
        options["input_shape"] = (*size[:2], 3)
    keras.utils.clear_session()  # restarts the numbers in layer names, so that they do not depend on earlier models
    keras.utils.set_random_seed(0)
    try:
        with suppress_output(), _socket_timeout():
            model = getattr(keras.applications, name)(**options)
    except Exception as error:  # downloads, shapes and files raise many kinds of exceptions
        raise NotABundle(
            f"keras.applications cannot make {name} with weights {weights}: {_reason(error, weights)}"
        ) from error
    wrapped = wrap_keras_model(model, size, _SCALE_OF.get(name, "0-255"))
    return replace(wrapped, has_random_weights=weights == "none")


def _reason(error: Exception, weights: str) -> str:
    reason = first_line(error).replace("None -- ", "")
    if weights != "imagenet":
        return reason
    return f"{reason.rstrip('.')}; download the weights on another machine and give --weights FILE."


@contextmanager
def _socket_timeout() -> Iterator[None]:
    """Limit the time of downloads. Keras sets no limit and waits for minutes for a server that does not answer."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
