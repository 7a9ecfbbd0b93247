"""SavedModel folders: looked through before they are loaded, because loading runs their initialisers."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hybrid_batch.data.errors import HybridBatchError, ModelRefused, NotABundle
from hybrid_batch.inference.model.importing.traceable_model import Source, image_shape
from hybrid_batch.inference.model.tensorflow_loader import first_line, import_tensorflow, quiet

_FILE = "saved_model.pb"
# Ops that run Python or touch files other than the model's own variables.
_OUTSIDE = {
    *("PyFunc", "PyFuncStateless", "EagerPyFunc", "ReadFile", "WriteFile", "MatchingFiles"),
    *("InitializeTableFromTextFile", "InitializeTableFromTextFileV2", "WriteSummary", "CreateSummaryFileWriter"),
    *("SaveDataset", "SaveDatasetV2", "LoadDataset", "TextLineDataset", "TFRecordDataset", "TFRecordDatasetV2"),
    *("FixedLengthRecordDataset", "FixedLengthRecordDatasetV2", "MatchingFilesDataset"),
}
_REFERENCES = {"Variable", "VariableV2"}


def read_saved_model(path: Path, size: tuple[int, int] | None) -> Source:
    """The classifier a SavedModel serves: its signature, or failing that its only call of one image.

    Raises NotABundle, ModelRefused, WrongUsage, MissingExtra."""
    if not (path / _FILE).is_file():
        raise NotABundle(f"{path} is neither a bundle (no bundle.json) nor a SavedModel (no {_FILE}).")
    tf = import_tensorflow()
    kinds = _kinds_of_ops(path)
    if outside := sorted(kinds & _OUTSIDE):
        raise ModelRefused(f"{path} runs Python or touches files ({', '.join(outside)}); it is refused.")
    try:
        with quiet():
            # TensorFlow 1 kept variables as references, which can only be frozen in a session.
            return (_frozen_in_session if kinds & _REFERENCES else _loaded)(tf, path, size)
    except HybridBatchError:
        raise
    except Exception as error:  # a reader of foreign files raises anything
        raise NotABundle(f"TensorFlow cannot read {path}: {first_line(error)}") from error


def _loaded(tf: Any, path: Path, size: tuple[int, int] | None) -> Source:  # noqa: ANN401
    loaded = tf.saved_model.load(str(path))
    signatures = dict(loaded.signatures)
    calls = getattr(loaded.__call__, "concrete_functions", []) if callable(loaded) else []
    function = _serving(path, signatures or {str(index): call for index, call in enumerate(calls)})
    arguments, named = function.structured_input_signature
    inputs = [spec for spec in (*arguments, *named.values()) if isinstance(spec, tf.TensorSpec)]

    def call(image: Any, _alive: Any = loaded) -> Any:  # noqa: ANN401 - the variables die with what was loaded
        return function(**{next(iter(named)): image}) if named else function(image)

    return _source(path, call, [(spec.shape, spec.dtype) for spec in inputs], size)


def _frozen_in_session(tf: Any, path: Path, size: tuple[int, int] | None) -> Source:  # noqa: ANN401
    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph, v1.Session() as session:
        signature = _serving(path, dict(v1.saved_model.load(session, ["serve"], str(path)).signature_def))
        given = [info.name for info in signature.inputs.values()]
        made = [info.name for info in signature.outputs.values()]
        ops = [name.partition(":")[0] for name in made]
        graph_def = v1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), ops)
        inputs = [(tensor.shape, tensor.dtype) for tensor in map(graph.get_tensor_by_name, given)]

    def call(image: Any) -> Any:  # noqa: ANN401
        return tf.import_graph_def(graph_def, {given[0]: image}, made, name="model")

    return _source(path, call, inputs, size)


def _source(
    path: Path, call: Callable[[Any], Any], inputs: list[tuple[Any, Any]], size: tuple[int, int] | None
) -> Source:
    if len(inputs) != 1:
        raise ModelRefused(f"{path} takes {len(inputs)} inputs; one image input is needed.")
    ((shape, dtype),) = inputs
    if shape.rank is None:
        raise ModelRefused(f"{path} leaves the shape of its input open; batch x height x width x channels is needed.")
    return Source(call, image_shape(shape.as_list(), size), dtype.name, layers=frozenset(), scale=None)


def _serving(path: Path, signatures: Mapping[str, Any]) -> Any:  # noqa: ANN401
    for name in ("serving_default", "serve"):
        if name in signatures:
            return signatures[name]
    if len(signatures) != 1:
        raise ModelRefused(
            f"{path} has no one signature to serve (it has {', '.join(sorted(signatures)) or 'none'});"
            " save it with model.export() or tf.saved_model.save(model, path, signatures=…)."
        )
    return next(iter(signatures.values()))


def _kinds_of_ops(path: Path) -> set[str]:
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    try:
        stored = SavedModel.FromString((path / _FILE).read_bytes())
    except Exception as error:  # a parser of foreign files raises anything
        raise NotABundle(f"{path / _FILE} is damaged: {first_line(error)}") from error
    graphs = [meta.graph_def for meta in stored.meta_graphs]
    nodes = [graph.node for graph in graphs]
    nodes += [function.node_def for graph in graphs for function in graph.library.function]
    return {node.op for group in nodes for node in group}
