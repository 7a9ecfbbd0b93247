"""SavedModel folders: looked through before they are loaded, because loading runs their initialisers."""

from pathlib import Path
from typing import Any

from data.errors import ModelRefused, NotABundle
from inference.frameworks import first_line, import_tensorflow, quiet
from inference.sources import Source, image_shape

_FILE = "saved_model.pb"
# Ops that run Python or touch files other than the model's own variables.
_OUTSIDE = {
    *("PyFunc", "PyFuncStateless", "EagerPyFunc", "ReadFile", "WriteFile", "MatchingFiles"),
    *("InitializeTableFromTextFile", "InitializeTableFromTextFileV2", "WriteSummary", "CreateSummaryFileWriter"),
    *("SaveDataset", "SaveDatasetV2", "LoadDataset", "TextLineDataset", "TFRecordDataset", "TFRecordDatasetV2"),
    *("FixedLengthRecordDataset", "FixedLengthRecordDatasetV2", "MatchingFilesDataset"),
}


def read_saved_model(path: Path, size: tuple[int, int] | None) -> Source:
    """The classifier a SavedModel serves: its signature, or failing that its only call of one image.

    Raises NotABundle, ModelRefused, WrongUsage, MissingExtra."""
    if not (path / _FILE).is_file():
        raise NotABundle(f"{path} is neither a bundle (no bundle.json) nor a SavedModel (no {_FILE}).")
    tf = import_tensorflow()
    _refuse_outside(path)
    try:
        with quiet():
            loaded = tf.saved_model.load(str(path))
    except Exception as error:  # a reader of foreign files raises anything
        raise NotABundle(f"TensorFlow cannot read {path}: {first_line(error)}") from error
    function = _serving(path, loaded)
    arguments, named = function.structured_input_signature
    inputs = [spec for spec in (*arguments, *named.values()) if isinstance(spec, tf.TensorSpec)]
    if len(inputs) != 1:
        raise ModelRefused(f"{path} takes {len(inputs)} inputs; one image input is needed.")
    if inputs[0].shape.rank is None:
        raise ModelRefused(f"{path} leaves the shape of its input open; batch x height x width x channels is needed.")

    def call(image: Any, _alive: Any = loaded) -> Any:  # noqa: ANN401 - the variables die with what was loaded
        return function(**{next(iter(named)): image}) if named else function(image)

    return Source(
        call=call,
        shape=image_shape(inputs[0].shape.as_list(), size),
        dtype=inputs[0].dtype.name,
        layers=frozenset(),
        scale=None,
    )


def _refuse_outside(path: Path) -> None:
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    try:
        stored = SavedModel.FromString((path / _FILE).read_bytes())
    except Exception as error:  # so does its parser
        raise NotABundle(f"{path / _FILE} is damaged: {first_line(error)}") from error
    graphs = [meta.graph_def for meta in stored.meta_graphs]
    nodes = [graph.node for graph in graphs]
    nodes += [function.node_def for graph in graphs for function in graph.library.function]
    kinds = {node.op for group in nodes for node in group}
    if outside := sorted(kinds & _OUTSIDE):
        raise ModelRefused(f"{path} runs Python or touches files ({', '.join(outside)}); it is refused.")


def _serving(path: Path, loaded: Any) -> Any:  # noqa: ANN401
    signatures = dict(loaded.signatures)
    for name in ("serving_default", "serve"):
        if name in signatures:
            return signatures[name]
    calls = list(signatures.values()) or getattr(getattr(loaded, "__call__", None), "concrete_functions", [])  # noqa: B004
    if len(calls) != 1:
        raise ModelRefused(
            f"{path} has no one signature to serve (it has {', '.join(sorted(signatures)) or 'none'});"
            " save it with model.export() or tf.saved_model.save(model, path, signatures=…)."
        )
    return calls[0]
