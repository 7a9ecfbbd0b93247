"""Read SavedModel folders. Their ops are checked before loading, because loading runs initialisers."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hybrid_batch.data.errors import HybridBatchError, ModelRefused, NotABundle
from hybrid_batch.inference.model.importing.saved_model.allowed_ops import REFERENCE_VARIABLES, check_saved_model
from hybrid_batch.inference.model.importing.traceable_model import TraceableModel, image_input
from hybrid_batch.inference.model.tensorflow_loader import first_line, import_tensorflow, suppress_output

_MODEL_FILE = "saved_model.pb"


def read_saved_model(path: Path, size: tuple[int, ...] | None) -> TraceableModel:
    """Read the classifier that a SavedModel serves: its serving signature, or else its only signature or call.

    Raises NotABundle, ModelRefused, WrongUsage, MissingExtra."""
    if not (path / _MODEL_FILE).is_file():
        raise NotABundle(f"{path} is neither a bundle (no bundle.json) nor a SavedModel (no {_MODEL_FILE}).")
    _check_files(path)
    tf = import_tensorflow()
    stored = _read(path)
    check_saved_model(path, stored)
    nodes = (node for meta in stored.meta_graphs for node in meta.graph_def.node)
    has_references = any(node.op in REFERENCE_VARIABLES for node in nodes)
    try:
        with suppress_output():
            # TensorFlow 1 stored variables as references, which only a session can freeze.
            return (_load_in_session if has_references else _load)(tf, path, size)
    except HybridBatchError:
        raise
    except Exception as error:  # TensorFlow raises any exception for a damaged file
        raise NotABundle(f"TensorFlow cannot read {path}: {first_line(error)}") from error


def _load(tf: Any, path: Path, size: tuple[int, ...] | None) -> TraceableModel:  # noqa: ANN401
    loaded = tf.saved_model.load(str(path))
    signatures = dict(loaded.signatures)
    calls = getattr(loaded.__call__, "concrete_functions", []) if callable(loaded) else []
    function = _serving_signature(path, signatures or {str(index): call for index, call in enumerate(calls)})
    arguments, named = function.structured_input_signature
    inputs = [spec for spec in (*arguments, *named.values()) if isinstance(spec, tf.TensorSpec)]

    def call(image: Any, _alive: Any = loaded) -> Any:  # noqa: ANN401 - `loaded` owns the variables
        return function(**{next(iter(named)): image}) if named else function(image)

    return _traceable_model(path, call, [(spec.shape, spec.dtype) for spec in inputs], size)


def _load_in_session(tf: Any, path: Path, size: tuple[int, ...] | None) -> TraceableModel:  # noqa: ANN401
    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph, v1.Session() as session:
        signature = _serving_signature(path, dict(v1.saved_model.load(session, ["serve"], str(path)).signature_def))
        input_names = [info.name for info in signature.inputs.values()]
        output_names = [info.name for info in signature.outputs.values()]
        ops = [name.partition(":")[0] for name in output_names]
        graph_def = v1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), ops)
        inputs = [(tensor.shape, tensor.dtype) for tensor in map(graph.get_tensor_by_name, input_names)]

    def call(image: Any) -> Any:  # noqa: ANN401
        return tf.import_graph_def(graph_def, {input_names[0]: image}, output_names, name="model")

    return _traceable_model(path, call, inputs, size)


def _traceable_model(
    path: Path, call: Callable[[Any], Any], inputs: list[tuple[Any, Any]], size: tuple[int, ...] | None
) -> TraceableModel:
    """`inputs` are the shape and datatype of each input."""
    if len(inputs) != 1:
        raise ModelRefused(f"{path} takes {len(inputs)} inputs; one image input is needed.")
    ((shape, dtype),) = inputs
    if shape.rank is None:
        raise ModelRefused(f"{path} has an input of open shape; height x width x channels is needed.")
    images = image_input(shape.as_list(), size)
    return TraceableModel(images.adapt(call), images.shape, dtype.name, layers=frozenset(), scale=None)


def _serving_signature(path: Path, signatures: Mapping[str, Any]) -> Any:  # noqa: ANN401
    for name in ("serving_default", "serve"):
        if name in signatures:
            return signatures[name]
    if len(signatures) != 1:
        raise ModelRefused(
            f"{path} has no single signature to serve (it has {', '.join(sorted(signatures)) or 'none'});"
            " save it with model.export() or tf.saved_model.save(model, path, signatures=…)."
        )
    return next(iter(signatures.values()))


def _check_files(path: Path) -> None:
    """Raise ModelRefused for a link to another folder, and for a file that is not a regular one."""
    own = path.resolve()
    for entry in path.rglob("*"):
        name = entry.relative_to(path)
        if entry.is_symlink() and not entry.resolve().is_relative_to(own):
            raise ModelRefused(
                f"{path} holds {name}, a link to {entry.resolve()}; if you trust it, copy the folder with `cp -rL`."
            )
        if not (entry.is_file() or entry.is_dir()):
            raise ModelRefused(f"{path} holds {name}, which is neither a file nor a folder.")


def _read(path: Path) -> Any:  # noqa: ANN401
    """The SavedModel message, which is only parsed."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    try:
        return SavedModel.FromString((path / _MODEL_FILE).read_bytes())
    except Exception as error:  # the parser raises any exception for a damaged file
        raise NotABundle(f"{path / _MODEL_FILE} is damaged: {first_line(error)}") from error
