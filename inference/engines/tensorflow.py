"""TensorFlow: the reference, and the engine for GPUs."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from inference.bundle import Bundle
from inference.cuts import TensorSpec
from inference.frameworks import import_tensorflow


class TensorFlowSegment:
    """A pruned function of the frozen graph."""

    def __init__(self, function: Any, constant: Any) -> None:  # noqa: ANN401
        self._function = function
        self._constant = constant

    def __call__(self, tensors: Sequence[np.ndarray]) -> list[np.ndarray]:
        """See Segment."""
        return [np.array(result) for result in self._function(*map(self._constant, tensors))]


class TensorFlowEngine:
    """Prunes the frozen graph to any part. Raises MissingExtra without TensorFlow."""

    name = "tensorflow"

    def __init__(self, bundle: Bundle) -> None:
        self._tf = import_tensorflow()
        graph = self._tf.compat.v1.GraphDef.FromString(bundle.graph_path.read_bytes())
        self._graph = self._tf.compat.v1.wrap_function(lambda: self._tf.compat.v1.import_graph_def(graph, name=""), [])

    def compile(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> TensorFlowSegment:
        """See Engine."""
        tensor = self._graph.graph.get_tensor_by_name
        function = self._graph.prune(
            feeds=[tensor(spec.name) for spec in inputs], fetches=[tensor(spec.name) for spec in outputs]
        )
        return TensorFlowSegment(function, self._tf.constant)
