"""A frozen TensorFlow graph as the plain ops that `inference.cuts` divides: shapes, work and layer names."""

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from hybrid_batch.inference.model.bundle import OutputKind
from hybrid_batch.inference.model.cuts import Op, TensorSpec
from hybrid_batch.inference.model.datatypes import NUMPY

_DATATYPES = {dtype.name: datatype for datatype, dtype in NUMPY.items()}
_SAME_VALUES = {"Identity", "Reshape", "Squeeze", "Cast"}
# Two batches, to see what of a shape is the batch and what of the work is done once an image. Neither is 1, which
# broadcasts, nor likely as a size of anything else.
_BATCHES = (101, 103)


def list_ops(graph_def: Any, input_name: str, layers: frozenset[str]) -> list[Op]:  # noqa: ANN401
    """The ops of a frozen GraphDef in its own order. `layers` are the layer names the user knows; empty when unknown.

    Shapes are those TensorFlow infers once the batch is known: with an open one it loses track of models that
    compute shapes."""
    small, large = (_with_batch(graph_def, input_name, batch) for batch in _BATCHES)
    scopes = [op.name.split("/")[:-1] for op in small if op.type != "Const"]
    prefix, numbered = _common_scope(scopes), _numbers_scopes(scopes, layers)
    return [
        Op(
            name=op.name,
            inputs=tuple(tensor.name for tensor in op.inputs),
            outputs=tuple(_spec(*pair) for pair in zip(op.outputs, twin.outputs, strict=True)),
            macs=(count_macs(twin) - count_macs(op)) // (_BATCHES[1] - _BATCHES[0]),
            layer=layer_name(op.name, prefix, layers, numbered=numbered),
        )
        for op, twin in zip(small, large, strict=True)
    ]


def _with_batch(graph_def: Any, input_name: str, batch: int) -> list[Any]:  # noqa: ANN401
    import tensorflow as tf

    fixed = tf.compat.v1.GraphDef()
    fixed.CopyFrom(graph_def)
    (source,) = (node for node in fixed.node if node.name == input_name)
    source.attr["shape"].shape.dim[0].size = batch
    graph = tf.Graph()
    with graph.as_default():
        tf.compat.v1.import_graph_def(fixed, name="")
    operations: list[Any] = graph.get_operations()
    return operations


def _spec(small: Any, large: Any) -> TensorSpec | None:  # noqa: ANN401
    """What can travel: a leading batch, all else static, a datatype of the protocol. Otherwise None.

    The batch may be unknown even now: a loop's results."""
    datatype = _DATATYPES.get(small.dtype.name)
    if datatype is None or not small.shape.rank or small.shape.rank != large.shape.rank:
        return None
    batches, (rest, same) = zip(*((s[0], s[1:]) for s in (small.shape.as_list(), large.shape.as_list())), strict=True)
    if batches not in (_BATCHES, (None, None)) or rest != same or None in rest:
        return None
    return TensorSpec(small.name, tuple(rest), datatype)


def count_macs(op: Any) -> int:  # noqa: ANN401
    """Multiply-accumulates of one op over its batch; only convolutions and products count, and none inside loops."""
    if op.type in ("Conv2D", "Conv3D"):
        return _size(op.outputs[0]) * math.prod(_sides(op.inputs[1])[:-1])
    if op.type == "DepthwiseConv2dNative":
        return _size(op.outputs[0]) * math.prod(_sides(op.inputs[1])[:2])
    if op.type == "Conv2DBackpropInput":  # a transposed convolution: every input meets a window of outputs
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
        between = (f".{place}" for place in range(len(sides) - len(left) - len(right), 0, -1))
        for letter, side in zip([*left, *between, *right], sides, strict=True):
            sizes[letter] = max(sizes.get(letter, 1), side)
    return math.prod(sizes.values())


def layer_name(op_name: str, prefix: int, layers: frozenset[str], *, numbered: bool) -> str:
    """The scope of an op as the user knows it: `block_6_project_BN` of
    `mobilenetv2_1.00_224_1/block_6_project_BN_1/batchnorm/add_1`."""
    parts = op_name.split("/")
    scope = [_known(part, layers, numbered) for part in parts[prefix:-1]]
    if layers:
        scope = scope[: max((i + 1 for i, part in enumerate(scope) if part in layers), default=0)]
    return "/".join(scope) or parts[-1]


def _known(part: str, layers: frozenset[str], numbered: bool) -> str:
    bare = re.sub(r"_\d+$", "", part)
    return bare if bare in layers and (numbered or part not in layers) else part


def _numbers_scopes(scopes: Iterable[Sequence[str]], layers: frozenset[str]) -> bool:
    """Whether `dense_1` is the scope of the layer `dense`: Keras 3 enters every layer's scope twice, and the second
    time, when ops are made, TensorFlow numbers it. Then no scope has a layer's very name."""
    names = {part for scope in scopes for part in scope} & layers
    return all(re.sub(r"_\d+$", "", name) in layers - {name} for name in names)


def _common_scope(scopes: Iterable[Sequence[str]]) -> int:
    """How many leading scopes all scoped ops share."""
    shared = 0
    for level in zip(*(scope for scope in scopes if scope), strict=False):
        if len(set(level)) > 1:
            break
        shared += 1
    return shared


def output_kind(graph_def: Any, output_tensor: str) -> OutputKind:  # noqa: ANN401
    """Probabilities when the last op that changes values is a softmax or sigmoid, else logits."""
    makers = {node.name: node for node in graph_def.node}
    node = makers[output_tensor.partition(":")[0]]
    while node.op in _SAME_VALUES:
        node = makers[node.input[0].partition(":")[0]]
    return "probabilities" if node.op in ("Softmax", "Sigmoid") else "logits"
