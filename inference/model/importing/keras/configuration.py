"""The check of a model's configuration: every object and function that it names must be on the allowlist.

The configuration is walked whole, with the texts in it that are JSON themselves, because Keras and TensorFlow have
functions that make a model from such a text. Keras 1, 2 and 3 share one list: the file chooses its version of Keras.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from hybrid_batch.data.errors import ModelRefused, NotABundle
from hybrid_batch.inference.model.importing.keras.allowed_classes import CLASSES
from hybrid_batch.inference.model.importing.keras.allowed_functions import KERAS_FUNCTIONS, TENSORFLOW_FUNCTIONS
from hybrid_batch.inference.model.runtimes.graph_nodes import read_node_op
from hybrid_batch.inference.model.runtimes.tensor_ops import TENSOR_OPS

_KERAS_MODULES = {"builtins", "keras", "tf_keras"}
# Layers made from code or other files: Python bytecode, pickled torch modules, SavedModels.
_CODE_LAYERS = {"Lambda", "__lambda__", "TorchModuleWrapper", "TFSMLayer"}
_FUNCTION_LAYERS = {"TFOpLambda", "SlicingOpLambda"}
_FUNCTION = "function"  # the class name of a function of Keras
# The settings of a layer in which a text is the name of a class or function.
_NAMING_KEY = re.compile(r"(^|_)(activation|cell|constraint|init|initializer|layer|regularizer)$")
_JSON_START = ("{", "[", '"')
_TRUST = "if you trust the file's source, add --trust-model"
_EXPORT = "export the model with model.export('folder') where the code is, and import the folder"


def check_configuration(file_name: str, config: object) -> None:
    """Raise ModelRefused if the configuration names a class, a function or an op that is not on the allowlist."""
    for key, item in _items(file_name, config):
        if isinstance(item, str):
            if key is not None and _NAMING_KEY.search(key) and item not in CLASSES | KERAS_FUNCTIONS:
                raise _unknown(file_name, f"{item!r} as {key}")
        elif "class_name" in item:
            _check_object(file_name, item)
        elif isinstance(module := item.get("module"), str):
            _check_module(file_name, item, module)


def _check_object(file_name: str, item: Mapping[str, Any]) -> None:
    """Check an object by its class, module and registered name, and the function or op that it holds."""
    name, module, registered = item["class_name"], item.get("module"), item.get("registered_name")
    kind = name.rpartition(">")[2] if isinstance(name, str) else repr(name)
    if kind in _CODE_LAYERS:
        raise ModelRefused(f"{file_name} has a {kind} layer, which is code that would run on this machine; {_TRUST}.")
    if module is not None:
        _check_module(file_name, item, module)
    inner = item.get("config")
    if kind == _FUNCTION:
        kind, known = str(inner), KERAS_FUNCTIONS
    else:
        known = CLASSES
    if kind not in known:
        if known is KERAS_FUNCTIONS:
            raise _unknown(file_name, repr(kind))
        raise ModelRefused(
            f"{file_name} uses the layer {kind!r}, which is not on the list of classes that run no code;"
            f" {_TRUST}, or {_EXPORT}."
        )
    if registered is not None and str(registered).rpartition(">")[2] not in known | {_FUNCTION}:
        raise _unknown(file_name, f"{registered!r} as registered_name")
    settings = inner if isinstance(inner, Mapping) else {}
    if kind in _FUNCTION_LAYERS:
        _check_tensorflow_function(file_name, settings.get("function"))
    if kind == "TensorFlowOpLayer":
        _check_op(file_name, settings.get("node_def"))


def _check_module(file_name: str, item: Mapping[str, Any], module: object) -> None:
    if not isinstance(module, str) or module.partition(".")[0] not in _KERAS_MODULES:
        kind = str(item.get("class_name")).rpartition(">")[2]
        raise ModelRefused(f"{file_name} uses {kind!r} of the Python module {module!r}, which is not Keras; {_EXPORT}.")


def _check_tensorflow_function(file_name: str, function: object) -> None:
    if not isinstance(function, str) or function.removeprefix("compat.v1.") not in TENSORFLOW_FUNCTIONS:
        raise ModelRefused(
            f"{file_name} calls tf.{function}, which is not on the list of functions that only compute; {_TRUST}."
        )


def _check_op(file_name: str, node: object) -> None:
    """Check the op of a layer that holds a node of a graph: an object, or the text of its serialised form."""
    op = node.get("op") if isinstance(node, Mapping) else None
    if isinstance(node, str):
        try:
            op = read_node_op(node.encode())
        except (NotABundle, UnicodeEncodeError):
            raise _unknown(file_name, "a layer with a damaged 'node_def'") from None
    if not isinstance(op, str) or op not in TENSOR_OPS:
        raise _unknown(file_name, f"the op {op!r}")


def _unknown(file_name: str, what: str) -> ModelRefused:
    return ModelRefused(f"{file_name} uses {what}, which is not on the list of what runs no code; {_TRUST}.")


def _items(file_name: str, config: object) -> Iterator[tuple[str | None, Any]]:
    """Every JSON object and text in a configuration, at any depth, with the key that holds it."""
    stack: list[tuple[str | None, object]] = [(None, config)]
    while stack:
        key, item = stack.pop()
        if isinstance(item, dict):
            yield key, item
            stack.extend(item.items())
        elif isinstance(item, list):
            stack.extend((key, inner) for inner in item)
        elif isinstance(item, str):
            stack.extend((key, inner) for inner in _inner_json(file_name, item))
            yield key, item


def _inner_json(file_name: str, text: str) -> Iterator[object]:
    """The value of a text that is JSON."""
    if text.lstrip().startswith(_JSON_START):
        try:
            yield json.loads(text)
        except ValueError:
            return
        except RecursionError:
            raise _unknown(file_name, "a text that is JSON nested too deeply") from None
