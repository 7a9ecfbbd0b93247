"""Import TensorFlow and both Keras versions without their console output, or report how to install them."""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any

from hybrid_batch.data.errors import MissingExtra

_INSTALL = "pip install 'hybrid-batch[tensorflow]'"


def import_tensorflow() -> Any:  # noqa: ANN401
    """Return the `tensorflow` module. Raises MissingExtra."""
    return _import("tensorflow")


def import_keras(major: int) -> Any:  # noqa: ANN401
    """Return Keras 3, or for `major` 2 its predecessor `tf_keras`. Raises MissingExtra."""
    import_tensorflow()
    return _import("keras" if major >= 3 else "tf_keras")


def _import(name: str) -> Any:  # noqa: ANN401
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if name in sys.modules:
        return sys.modules[name]
    try:
        with suppress_output(), _without_matplotlib():
            return import_module(name)
    except ImportError as error:
        raise MissingExtra(f"This needs {name}, which is not installed ({error}); run: {_INSTALL}") from error


@contextmanager
def _without_matplotlib() -> Iterator[None]:
    """Let imports of matplotlib fail, as if it were not installed: Keras imports it for drawings of its own, and its
    import reads `matplotlibrc` in the working folder, which names a module to import."""
    name = "matplotlib"
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # as the documentation of the import system describes
    try:
        yield
    finally:
        sys.modules.pop(name, None)


def first_line(error: Exception) -> str:
    """Return the first line of a library's error message, at most 300 characters, as the end of a sentence."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].strip().rstrip(".:")[:300] + "."


@contextmanager
def suppress_output() -> Iterator[None]:
    """Suppress warnings, stdout, and file descriptor 2, because TensorFlow's C++ code ignores Python's settings."""
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with Path(os.devnull).open("w", encoding="utf-8") as null, redirect_stdout(null):
            os.dup2(null.fileno(), 2)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)
