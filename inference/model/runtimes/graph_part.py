"""The part of a GraphDef between some tensors: a session of it holds no other weights."""

from collections.abc import Sequence
from typing import Any

from hybrid_batch.inference.model.cuts import TensorSpec


def extract_part(graph: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Any:  # noqa: ANN401
    """A GraphDef with the nodes that compute the outputs from the inputs, whose own nodes are absent. Raises KeyError
    for a node that the graph lacks."""
    nodes = {node.name: node for node in graph.node}
    given = {_canonical(tensor.name) for tensor in inputs}
    part = type(graph)(versions=graph.versions)
    part.library.CopyFrom(graph.library)
    found: set[str] = set()
    waiting = [_node_name(tensor.name) for tensor in outputs if _canonical(tensor.name) not in given]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            part.node.add().CopyFrom(nodes[name])
            waiting += [_node_name(tensor) for tensor in nodes[name].input if _canonical(tensor) not in given]
    return part


def _canonical(tensor: str) -> str:
    """The name of a tensor in the form of a node's inputs, which omits the number of the first output."""
    return tensor.removesuffix(":0")


def _node_name(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]
