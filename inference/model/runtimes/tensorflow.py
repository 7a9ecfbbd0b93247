"""TensorFlow: the reference, and the runtime for GPUs.

It runs a session, not functions. A session prunes the graph to any part in C++ in 0.1 s, where `prune` of a function
takes 0.3 s, and its calls are as fast or faster (docs/decisions.md).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import TensorSpec
from hybrid_batch.inference.model.runtimes.graph_nodes import check_graph
from hybrid_batch.inference.model.tensorflow_loader import import_tensorflow, suppress_output


class TensorFlowSegment:
    """A part of the session's graph."""

    def __init__(self, run: Callable[..., list[np.ndarray]]) -> None:
        self._run = run

    def __call__(self, tensors: Sequence[np.ndarray]) -> list[np.ndarray]:
        """See Segment."""
        return self._run(*tensors)


class TensorFlowRuntime:
    """Runs parts of the frozen graph. Raises MissingExtra without TensorFlow, ModelRefused for an op that may do more
    than compute."""

    name = "tensorflow"

    def __init__(self, bundle: Bundle) -> None:
        check_graph(bundle)
        tf = import_tensorflow()
        from tensorflow.core.protobuf.rewriter_config_pb2 import RewriterConfig

        graph = tf.Graph()
        with suppress_output(), graph.as_default():
            # TensorFloat-32 on GPUs would round the factors of products to 10 bits.
            tf.config.experimental.enable_tensor_float_32_execution(False)
            tf.import_graph_def(tf.compat.v1.GraphDef.FromString(bundle.graph_path.read_bytes()), name="")
            options = tf.compat.v1.ConfigProto(gpu_options=tf.compat.v1.GPUOptions(allow_growth=True))
            # Fusing ops removes tensors that are fed: ResNet50's tails at its additions would not start.
            options.graph_options.rewrite_options.remapping = RewriterConfig.OFF
            self._session: Any = tf.compat.v1.Session(graph=graph, config=options)
            self._session.run(tf.no_op())  # the first run in a process may print warnings

    def compile(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> TensorFlowSegment:
        """See Runtime."""
        tensor = self._session.graph.get_tensor_by_name
        return TensorFlowSegment(
            self._session.make_callable(
                [tensor(spec.name) for spec in outputs], feed_list=[tensor(spec.name) for spec in inputs]
            )
        )


def open_runtime(bundle: Bundle, *, cached: bool) -> TensorFlowRuntime:
    """Open TensorFlow on a bundle. A session compiles nothing that could be cached. Raises MissingExtra."""
    del cached
    return TensorFlowRuntime(bundle)
