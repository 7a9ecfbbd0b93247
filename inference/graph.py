"""A frozen TensorFlow graph as the plain ops that `inference.cuts` divides: shapes, work and layer names."""

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from inference.bundle import OutputKind
from inference.cuts import Op, TensorSpec

DATATYPES = {
    "float32": "FP32",
    "float16": "FP16",
    "uint8": "UINT8",
    "int8": "INT8",
    "int32": "INT32",
    "int64": "INT64",
    "bool": "BOOL",
}
_SAME_VALUES = {"Identity", "Reshape", "Squeeze", "Cast"}


def list_ops(graph: Any, layers: frozenset[str]) -> list[Op]:  # noqa: ANN401
    """The graph's ops in its own order. `layers` are the layer names the user knows; empty when unknown."""
    operations = graph.get_operations()
    prefix = _common_scope(op.name for op in operations if op.type != "Const")
    return [
        Op(
            name=op.name,
            inputs=tuple(tensor.name for tensor in op.inputs),
            outputs=tuple(tensor_spec(tensor) for tensor in op.outputs),
            macs=count_macs(op),
            layer=layer_name(op.name, prefix, layers),
        )
        for op in operations
    ]


def tensor_spec(tensor: Any) -> TensorSpec | None:  # noqa: ANN401
    """What can travel: a leading batch, all else static, a datatype of the protocol. Otherwise None."""
    datatype = DATATYPES.get(tensor.dtype.name)
    if datatype is None or tensor.shape.rank in (None, 0):
        return None
    batch, *rest = tensor.shape.as_list()
    if batch is not None or None in rest:
        return None
    return TensorSpec(tensor.name, tuple(rest), datatype)


def count_macs(op: Any) -> int:  # noqa: ANN401
    """Multiply-accumulates of one op for one image; only convolutions and products count."""
    per_output: int
    if op.type in ("Conv2D", "Conv3D", "DepthwiseConv2dNative"):
        *window, channels_in, _ = op.inputs[1].shape.as_list()
        per_output = math.prod(window) * (1 if op.type == "DepthwiseConv2dNative" else channels_in)
    elif op.type == "MatMul":
        per_output = op.inputs[0].shape.as_list()[0 if op.get_attr("transpose_a") else 1] or 0
    elif op.type in ("BatchMatMul", "BatchMatMulV2"):
        per_output = op.inputs[0].shape.as_list()[-2 if op.get_attr("adj_x") else -1] or 0
    elif op.type == "Einsum":
        return _einsum_macs(op)
    else:
        return 0
    outputs: list[int | None] = op.outputs[0].shape.as_list()
    return per_output * math.prod(size or 1 for size in outputs)


def _einsum_macs(op: Any) -> int:  # noqa: ANN401
    terms = op.get_attr("equation").decode().split("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, tensor in zip(terms, op.inputs, strict=True):
        letters = term.replace("...", "")
        for letter, size in zip(reversed(letters), reversed(tensor.shape.as_list()), strict=False):
            sizes[letter] = max(sizes.get(letter, 1), size or 1)
    return math.prod(sizes.values())


def layer_name(op_name: str, prefix: int, layers: frozenset[str]) -> str:
    """The scope of an op as the user knows it: `block_6_project_BN` of
    `mobilenetv2_1.00_224_1/block_6_project_BN_1/batchnorm/add_1`."""
    parts = op_name.split("/")
    scope = [_known(part, layers) for part in parts[prefix:-1]]
    if layers:
        scope = scope[: max((i + 1 for i, part in enumerate(scope) if part in layers), default=0)]
    return "/".join(scope) or parts[-1]


def _known(part: str, layers: frozenset[str]) -> str:
    """Keras numbers the scopes it enters a second time; the layer has no such number."""
    bare = re.sub(r"_\d+$", "", part)
    return bare if part not in layers and bare in layers else part


def _common_scope(names: Iterable[str]) -> int:
    """How many leading scopes all scoped names share."""
    scopes = [name.split("/")[:-1] for name in names if "/" in name]
    shared = 0
    for level in zip(*scopes, strict=False):
        if len(set(level)) > 1:
            break
        shared += 1
    return shared


def output_kind(operations: Sequence[Any], output_tensor: str) -> OutputKind:
    """Probabilities when the last op that changes values is a softmax or sigmoid, else logits."""
    makers = {tensor.name: op for op in operations for tensor in op.outputs}
    op = makers[output_tensor]
    while op.type in _SAME_VALUES:
        op = makers[op.inputs[0].name]
    return "probabilities" if op.type in ("Softmax", "Sigmoid") else "logits"
