"""The check of a SavedModel's ops, before TensorFlow loads it: loading runs initialisers and restores variables.

Every node of every graph and function must be on the allowlist of tensor ops, or on a list for models that are loaded:
variables, tables in memory, random numbers. A saver's ops, which write and read files, are in every SavedModel. They
are accepted only where the import never runs them:

- TensorFlow 2 runs functions of the object graph and what these call; it reads the variables' files by itself.
- TensorFlow 1 runs the main graph's restore op, initialisers and signatures. Their RestoreV2 must take the file name
  that TensorFlow feeds.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hybrid_batch.data.errors import ModelRefused
from hybrid_batch.inference.model.runtimes.tensor_ops import TENSOR_OPS, name_others

REFERENCE_VARIABLES = frozenset({"Variable", "VariableV2"})
_STATE = """
    Assert Assign AssignAdd AssignAddVariableOp AssignSub AssignSubVariableOp AssignVariableOp DestroyResourceOp
    DisableCopyOnRead IsVariableInitialized ReadVariableOp ResourceGather ResourceGatherNd VarHandleOp
    VarIsInitializedOp Variable VariableShape VariableV2
    HashTable HashTableV2 InitializeTable InitializeTableV2 LookupTableFind LookupTableFindV2 LookupTableImportV2
    LookupTableSize LookupTableSizeV2
"""
_RANDOM = """
    Multinomial NonDeterministicInts RandomGamma RandomPoissonV2 RandomShuffle RandomStandardNormal RandomUniform
    RandomUniformInt RngReadAndSkip RngSkip StatefulStandardNormalV2 StatefulTruncatedNormal StatefulUniform
    StatefulUniformFullInt StatefulUniformInt StatelessRandomUniformFullInt StatelessRandomUniformFullIntV2
    StatelessShuffle TruncatedNormal
"""
# Signatures that take the bytes of a file, or a serialised example, and signatures that return class names.
_TEXTS = """
    AsString DecodeAndCropJpeg DecodeBase64 DecodeImage DecodeJpeg DecodePng DecodeRaw EncodeBase64 EncodeJpeg EncodePng
    ParseExample ParseExampleV2 ParseSingleExample ReduceJoin StaticRegexFullMatch StringFormat StringJoin
    StringToNumber
"""
# Functions of training, which recurrent layers of Keras 2 keep.
_GRADIENTS = """
    AvgPoolGrad BiasAddGrad BroadcastGradientArgs Conv2DBackpropFilter CudnnRNN CudnnRNNBackprop CudnnRNNBackpropV2
    CudnnRNNBackpropV3 CudnnRNNCanonicalToParamsV2 CudnnRNNParamsSize CudnnRNNV2 CudnnRNNV3
    DepthwiseConv2dNativeBackpropFilter EluGrad FusedBatchNormGrad FusedBatchNormGradV2 FusedBatchNormGradV3
    LeakyReluGrad MaxPoolGrad Relu6Grad ReluGrad ResizeBilinearGrad ResizeNearestNeighborGrad RsqrtGrad SeluGrad
    SigmoidGrad SoftplusGrad SqrtGrad StridedSliceGrad TanhGrad
"""
_RESTORE = frozenset({"Restore", "RestoreV2"})
_SAVER = _RESTORE | {"MergeV2Checkpoints", "Save", "SaveSlices", "SaveV2", "ShardedFilename"}
_LOADED_OPS = TENSOR_OPS | frozenset(" ".join((_STATE, _RANDOM, _TEXTS, _GRADIENTS)).split())
_INITIALISERS = ("saved_model_main_op", "legacy_init_op", "saved_model_init_op", "table_initializer")


def check_saved_model(path: Path, stored: Any) -> None:  # noqa: ANN401 - a SavedModel message
    """Raise ModelRefused if a node of the SavedModel is not on the allowlist, or a saver's op would run."""
    for meta in stored.meta_graphs:
        library = {function.signature.name: function for function in meta.graph_def.library.function}
        nodes = [*meta.graph_def.node, *(node for function in library.values() for node in function.node_def)]
        if others := name_others((node.op for node in nodes), _LOADED_OPS | _SAVER | library.keys()):
            raise ModelRefused(
                f"{path} holds {others}, which may do more than compute on tensors; export the model without it."
            )
        in_graph = len(stored.meta_graphs) > 1 or not meta.HasField("object_graph_def")
        runs_graph = in_graph or any(node.op in REFERENCE_VARIABLES for node in nodes)
        main = list(_running_nodes(meta)) if runs_graph else []
        called = _called({*_object_functions(meta)}, main, library)
        running = [node for name in called for node in library[name].node_def]
        file_name = _node_name(meta.saver_def.filename_tensor_name)
        running += [node for node in main if not (node.op in _RESTORE and _node_name(node.input[0]) == file_name)]
        if saver := next((node.op for node in running if node.op in _SAVER), None):
            raise ModelRefused(
                f"{path} would run the op {saver} when it is loaded, which opens files; export the model without it."
            )


def _running_nodes(meta: Any) -> Iterator[Any]:  # noqa: ANN401
    """The nodes of the main graph that TensorFlow 1 may run: restore op, initialisers and signatures, with all that
    these need."""
    by_name = {node.name: node for node in meta.graph_def.node}
    collected = [meta.collection_def[name] for name in meta.collection_def if name in _INITIALISERS]
    pending = [meta.saver_def.restore_op_name]
    pending += [name for collection in collected for name in collection.node_list.value]
    for signature in meta.signature_def.values():
        pending += [tensor.name for tensor in (*signature.inputs.values(), *signature.outputs.values())]
    # A variable is read and initialised by name, and assets are fed by name.
    pending += [node.name for node in meta.graph_def.node if node.op in REFERENCE_VARIABLES]
    seen: set[str] = set()
    while pending:
        name = _node_name(pending.pop())
        if name in by_name and name not in seen:
            seen.add(name)
            yield by_name[name]
            pending.extend(by_name[name].input)


def _object_functions(meta: Any) -> Iterator[str]:  # noqa: ANN401
    """The functions that TensorFlow 2 makes callable, among them those of resources and of their restoring."""
    graph = meta.object_graph_def
    yield from graph.concrete_functions
    for node in graph.nodes:
        yield from node.function.concrete_functions
        yield node.bare_concrete_function.concrete_function_name


def _called(names: set[str], nodes: Iterable[Any], library: dict[str, Any]) -> set[str]:
    """The functions of the library that are named, that the nodes call, and that these call in turn."""
    pending = [*names, *(name for node in nodes for name in _calls(node))]
    found: set[str] = set()
    while pending:
        name = pending.pop()
        if name in library and name not in found:
            found.add(name)
            pending.extend(inner for node in library[name].node_def for inner in _calls(node))
    return found


def _calls(node: Any) -> Iterator[str]:  # noqa: ANN401
    yield node.op  # a function may be called by an op of its name
    for value in node.attr.values():
        yield value.func.name
        yield from (function.name for function in value.list.func)


def _node_name(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]
