"""TensorFlow: the reference, and the runtime for GPUs.

It runs sessions, not functions: their calls are as fast or faster (docs/decisions.md). Each part of the graph has a
session of its own, because a session frees nothing before it ends.
"""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from hybrid_batch.data.errors import ModelRefused, NotABundle, one_line
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import TensorSpec
from hybrid_batch.inference.model.runtimes.graph_nodes import check_graph, check_output
from hybrid_batch.inference.model.runtimes.graph_part import extract_part
from hybrid_batch.inference.model.tensorflow_loader import import_tensorflow, suppress_output

_REASON_CHARACTERS = 300
# Measured on MobileNetV2 and ResNet50: the graph, the session's own, constants that it folds and repacks; and code.
_WEIGHT_COPIES, _CODE_BYTES = 4.2, 4 << 20


class TensorFlowSegment:
    """A part of the graph in a session of its own, which `run` keeps."""

    def __init__(self, run: Callable[..., list[np.ndarray]], weight_bytes: int) -> None:
        self.held_bytes = int(_WEIGHT_COPIES * weight_bytes) + _CODE_BYTES
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

        self._tf: Any = tf
        self._bundle = bundle
        self._graph = tf.Graph()
        with _described(bundle), suppress_output(), self._graph.as_default():
            # TensorFloat-32 on GPUs would round the factors of products to 10 bits.
            tf.config.experimental.enable_tensor_float_32_execution(False)
            tf.import_graph_def(tf.compat.v1.GraphDef.FromString(bundle.graph_path.read_bytes()), name="")
            self._check_sizes()
            self._options = tf.compat.v1.ConfigProto(gpu_options=tf.compat.v1.GPUOptions(allow_growth=True))
            # Fusing ops removes tensors that are fed: ResNet50's tails at its additions would not start.
            self._options.graph_options.rewrite_options.remapping = RewriterConfig.OFF

    def compile(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> TensorFlowSegment:
        """See Runtime."""
        tf = self._tf
        gc.collect()  # graphs of sessions that ended are in circles of references
        with _described(self._bundle), suppress_output(), tf.Graph().as_default() as graph:
            given = [(spec.name, self._tensor(spec)) for spec in inputs]
            fetches = [self._tensor(spec).name for spec in outputs]
            part = extract_part(self._graph.as_graph_def(), inputs, outputs)
            feeds = {name: tf.compat.v1.placeholder(tensor.dtype, tensor.shape) for name, tensor in given}
            tf.import_graph_def(part, feeds, name="")
            session = tf.compat.v1.Session(graph=graph, config=self._options)
            fetched = [feeds.get(name, name) for name in fetches]
            run = session.make_callable(
                [graph.as_graph_element(one) for one in fetched], feed_list=list(feeds.values())
            )
            return TensorFlowSegment(run, part.ByteSize())

    def _check_sizes(self) -> None:
        for op in self._graph.get_operations():
            for tensor in op.outputs if op.type != "Const" else ():
                if tensor.shape.rank is not None and tensor.dtype.is_numpy_compatible:
                    sizes = tensor.shape.as_list()
                    check_output(self._bundle, op.type, op.name, sizes, tensor.dtype.size)

    def _tensor(self, spec: TensorSpec) -> Any:  # noqa: ANN401
        found = self._graph.get_tensor_by_name(spec.name)
        if not found.shape.is_compatible_with([None, *spec.shape]):
            raise ValueError(f"{spec.name[:80]!r} has the shape {found.shape} instead of {spec.shape}")
        return found


@contextmanager
def _described(bundle: Bundle) -> Iterator[None]:
    """Raise NotABundle for the many kinds of exceptions that TensorFlow raises for a damaged graph."""
    try:
        yield
    except ModelRefused:
        raise
    except Exception as error:
        raise NotABundle(
            f"TensorFlow cannot open {bundle.name} ({one_line(error)[:_REASON_CHARACTERS]}); import the model again."
        ) from error


def open_runtime(bundle: Bundle, *, cached: bool) -> TensorFlowRuntime:
    """Open TensorFlow on a bundle. A session compiles nothing that could be cached. Raises MissingExtra."""
    del cached
    return TensorFlowRuntime(bundle)
