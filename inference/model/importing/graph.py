"""Read a frozen TensorFlow graph as the ops that `model.cuts` divides: shapes, multiply-accumulates, layer names."""

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from hybrid_batch.inference.model.bundle import OutputKind
from hybrid_batch.inference.model.cuts import Op, TensorSpec
from hybrid_batch.inference.model.datatypes import NUMPY_DTYPES

_DATATYPES = {dtype.name: datatype for datatype, dtype in NUMPY_DTYPES.items()}
_SAME_VALUES = {"Identity", "Reshape", "Squeeze", "Cast"}
# Two batch sizes show which dimension is the batch, and which operations run once per image. Neither is 1, which
# broadcasts, and neither is a likely size of another dimension.
_BATCH_SIZES = (101, 103)


def list_ops(graph_def: Any, input_name: str, layers: frozenset[str]) -> list[Op]:  # noqa: ANN401
    """Return the ops of a frozen GraphDef in its order. `layers` are the known layer names, empty if unknown.

    TensorFlow infers the shapes for a fixed batch size, because with an open one it loses the shapes of models that
    compute with shapes."""
    small, large = (_with_batch_size(graph_def, input_name, size) for size in _BATCH_SIZES)
    scopes = [op.name.split("/")[:-1] for op in small if op.type != "Const"]
    prefix, numbered = _common_scopes(scopes), _numbers_scopes(scopes, layers)
    return [
        Op(
            name=op.name,
            inputs=tuple(tensor.name for tensor in op.inputs),
            outputs=tuple(_spec(*pair) for pair in zip(op.outputs, twin.outputs, strict=True)),
            macs=(count_macs(twin) - count_macs(op)) // (_BATCH_SIZES[1] - _BATCH_SIZES[0]),
            layer=layer_name(op.name, prefix, layers, numbered=numbered),
        )
        for op, twin in zip(small, large, strict=True)
    ]


def _with_batch_size(graph_def: Any, input_name: str, size: int) -> list[Any]:  # noqa: ANN401
    import tensorflow as tf

    fixed = tf.compat.v1.GraphDef()
    fixed.CopyFrom(graph_def)
    (source,) = (node for node in fixed.node if node.name == input_name)
    source.attr["shape"].shape.dim[0].size = size
    graph = tf.Graph()
    with graph.as_default():
        tf.compat.v1.import_graph_def(fixed, name="")
    operations: list[Any] = graph.get_operations()
    return operations


def _spec(small: Any, large: Any) -> TensorSpec | None:  # noqa: ANN401
    """Describe a tensor that can be sent: a leading batch, otherwise static, a datatype of the protocol. Else None.

    The batch of a loop's results stays unknown."""
    datatype = _DATATYPES.get(small.dtype.name)
    if datatype is None or not small.shape.rank or small.shape.rank != large.shape.rank:
        return None
    batches, (rest, same) = zip(*((s[0], s[1:]) for s in (small.shape.as_list(), large.shape.as_list())), strict=True)
    if batches not in (_BATCH_SIZES, (None, None)) or rest != same or None in rest:
        return None
    return TensorSpec(small.name, tuple(rest), datatype)


def count_macs(op: Any) -> int:  # noqa: ANN401
    """Return the multiply-accumulates of one op over its batch: of convolutions and products, not inside loops."""
    if op.type in ("Conv2D", "Conv3D"):
        return _size(op.outputs[0]) * math.prod(_sides(op.inputs[1])[:-1])
    if op.type == "DepthwiseConv2dNative":
        return _size(op.outputs[0]) * math.prod(_sides(op.inputs[1])[:2])
    if op.type == "Conv2DBackpropInput":  # a transposed convolution: each input value adds to a window of outputs
        return _size(op.inputs[2]) * math.prod(_sides(op.inputs[1])[:3])
    if op.type == "MatMul":
        return _size(op.outputs[0]) * _sides(op.inputs[0])[-2 if op.get_attr("transpose_a") else -1]
    if op.type in ("BatchMatMul", "BatchMatMulV2"):
        return _size(op.outputs[0]) * _sides(op.inputs[0])[-2 if op.get_attr("adj_x") else -1]
    return _einsum_macs(op) if op.type == "Einsum" else 0


def _sides(tensor: Any) -> list[int]:  # noqa: ANN401
    return [] if tensor.shape.rank is None else [side or 1 for side in tensor.shape.as_list()]


def _size(tensor: Any) -> int:  # noqa: ANN401
    return math.prod(_sides(tensor))


def _einsum_macs(op: Any) -> int:  # noqa: ANN401
    sizes: dict[str, int] = {}
    for term, tensor in zip(op.get_attr("equation").decode().split("->")[0].split(","), op.inputs, strict=True):
        left, _, right = term.partition("...")
        sides = _sides(tensor)
        ellipsis = (f".{place}" for place in range(len(sides) - len(left) - len(right), 0, -1))
        for letter, side in zip([*left, *ellipsis, *right], sides, strict=True):
            sizes[letter] = max(sizes.get(letter, 1), side)
    return math.prod(sizes.values())


def layer_name(op_name: str, prefix: int, layers: frozenset[str], *, numbered: bool) -> str:
    """Return the scope of an op in the user's layer names: `block_6_project_BN` for
    `mobilenetv2_1.00_224_1/block_6_project_BN_1/batchnorm/add_1`.

    The first `prefix` scopes are dropped. `numbered` states that the graph adds `_1`, `_2`, … to layer names."""
    parts = op_name.split("/")
    scope = [_unnumbered(part, layers, numbered) for part in parts[prefix:-1]]
    if layers:
        scope = scope[: max((i + 1 for i, part in enumerate(scope) if part in layers), default=0)]
    return "/".join(scope) or parts[-1]


def _unnumbered(part: str, layers: frozenset[str], numbered: bool) -> str:
    bare = re.sub(r"_\d+$", "", part)
    return bare if bare in layers and (numbered or part not in layers) else part


def _numbers_scopes(scopes: Iterable[Sequence[str]], layers: frozenset[str]) -> bool:
    """Whether `dense_1` is the scope of the layer `dense`.

    Keras 3 enters the scope of each layer twice. TensorFlow numbers the second scope, in which the ops are made, so
    that no scope has exactly the name of a layer."""
    names = {part for scope in scopes for part in scope} & layers
    return all(re.sub(r"_\d+$", "", name) in layers - {name} for name in names)


def _common_scopes(scopes: Iterable[Sequence[str]]) -> int:
    """Count the leading scopes that all scoped ops share."""
    shared = 0
    for level in zip(*(scope for scope in scopes if scope), strict=False):
        if len(set(level)) > 1:
            break
        shared += 1
    return shared


def output_kind(graph_def: Any, output_tensor: str) -> OutputKind:  # noqa: ANN401
    """Return `probabilities` if the last op that changes values is a softmax or sigmoid, else `logits`."""
    producers = {node.name: node for node in graph_def.node}
    node = producers[output_tensor.partition(":")[0]]
    while node.op in _SAME_VALUES:
        node = producers[node.input[0].partition(":")[0]]
    return "probabilities" if node.op in ("Softmax", "Sigmoid") else "logits"
