"""OpenVINO on the CPU, the default runtime. Its own front end reads the graph, so TensorFlow is not imported.

The graph is divided by tensor name before conversion, because conversion renames tensors and changes the layout.
The batch size stays dynamic: on 2 cores this costs 0 to 13 % against a fixed one, and the results are equal to the
last bit for every batch size (docs/decisions.md).
"""

import contextlib
import hashlib
import math
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino.frontend import FrontEndManager

from hybrid_batch.data.errors import ModelRefused, NotABundle
from hybrid_batch.inference.model.atomic_directory import atomic_directory
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cache import cache_folder, prune
from hybrid_batch.inference.model.cuts import TensorSpec
from hybrid_batch.inference.model.runtimes.graph_nodes import OPS_VERSION, check_graph, check_output

_REASON_CHARACTERS = 300
_MODEL_FILE, _WEIGHTS_FILE = "segment.xml", "segment.bin"
# On a CPU with bf16 the default precision is bf16, which changes probabilities by up to 0.017.
_PRECISION = {"INFERENCE_PRECISION_HINT": "f32"}
# Measured on MobileNetV2 and ResNet50: the mapped file of the weights, the repacked weights, and code.
_WEIGHT_COPIES, _CODE_BYTES = 3.2, 8 << 20


class OpenVinoSegment:
    """A compiled model that runs one call at a time, from any thread.

    With one request per thread some processes hung in `get_tensor`, which holds the interpreter's lock while it
    waits for another thread's call. The CPU has a single stream for all requests anyway."""

    def __init__(
        self,
        compiled: Any,  # noqa: ANN401
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        weight_bytes: int,
    ) -> None:
        self.held_bytes = int(_WEIGHT_COPIES * weight_bytes) + _CODE_BYTES
        self._compiled = compiled
        self._inputs = [_port(compiled.inputs, tensor, i) for i, tensor in enumerate(inputs)]
        self._outputs = [_port(compiled.outputs, tensor, i) for i, tensor in enumerate(outputs)]
        self._request = compiled.create_infer_request()
        self._running = threading.Lock()

    def __call__(self, tensors: Sequence[np.ndarray]) -> list[np.ndarray]:
        """See Segment."""
        feeds = {port: np.ascontiguousarray(tensor) for port, tensor in zip(self._inputs, tensors, strict=True)}
        with self._running:
            results = self._request.infer(feeds, share_inputs=True, share_outputs=True)
            return [np.array(results[port]) for port in self._outputs]

    def release_memory(self) -> None:
        """See ReleasableSegment."""
        with self._running:
            self._compiled.release_memory()


class OpenVinoRuntime:
    """Compiles parts of one bundle's graph, through the segment cache unless `cached` is false."""

    name = "openvino"

    def __init__(self, bundle: Bundle, *, cached: bool = True) -> None:
        check_graph(bundle)  # also if all its parts are in the cache
        self._bundle = bundle
        self._cached = cached
        self._core = ov.Core()

    def compile(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> OpenVinoSegment:
        """See Runtime."""
        try:
            model = self._load(inputs, outputs) if self._cached else self._convert(inputs, outputs)
            self._check_sizes(model)
            weight_bytes = _weight_bytes(model)  # before compilation, which may replace constants
            return OpenVinoSegment(self._core.compile_model(model, "CPU", _PRECISION), inputs, outputs, weight_bytes)
        except ModelRefused:
            raise
        except Exception as error:  # OpenVINO raises many kinds of exceptions for a damaged graph
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1][:_REASON_CHARACTERS].rstrip(".")
            raise NotABundle(
                f"OpenVINO cannot compile {self._bundle.name} ({reason}); import the model again, or use"
                " --runtime tensorflow."
            ) from error

    def _check_sizes(self, model: Any) -> None:  # noqa: ANN401
        for node in model.get_ops():
            kind = node.get_type_name()
            for output in node.outputs() if kind != "Constant" else ():
                shape, name = output.get_partial_shape(), node.get_friendly_name()
                if shape.rank.is_static:
                    sizes = [size.get_length() if size.is_static else None for size in shape]
                    check_output(self._bundle, kind, name, sizes, output.get_element_type().size)

    def _load(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Any:  # noqa: ANN401
        """Read the converted part from the cache, or convert and cache it.

        A part that was just written is read back, so that the first run and later ones compile the same file and
        agree to the last bit."""
        folder = cache_folder("segments")
        key = [
            ov.__version__,
            f"ops {OPS_VERSION}",
            self._bundle.sha256,
            *(t.name for t in inputs),
            ">",
            *(t.name for t in outputs),
        ]
        path = folder / hashlib.sha256("\n".join(key).encode()).hexdigest()[:32]
        with contextlib.suppress(RuntimeError):  # the entry is absent or damaged
            return self._read(path)
        model = self._convert(inputs, outputs)
        with contextlib.suppress(OSError, RuntimeError):  # without a writable cache the next start converts again
            with atomic_directory(path) as temporary:
                ov.save_model(model, temporary / _MODEL_FILE, compress_to_fp16=False)
            prune(folder)
            return self._read(path)
        return model

    def _read(self, path: Path) -> Any:  # noqa: ANN401
        return self._core.read_model(path / _MODEL_FILE, path / _WEIGHTS_FILE)

    def _convert(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Any:  # noqa: ANN401
        front_end = FrontEndManager().load_by_framework("tf")
        graph = front_end.load(str(self._bundle.graph_path))
        graph.override_all_outputs([graph.get_place_by_tensor_name(tensor.name) for tensor in outputs])
        places = [graph.get_place_by_tensor_name(tensor.name) for tensor in inputs]
        graph.override_all_inputs(places)
        for place, tensor in zip(places, inputs, strict=True):
            graph.set_partial_shape(place, ov.PartialShape([-1, *tensor.shape]))
        return front_end.convert(graph)


def open_runtime(bundle: Bundle, *, cached: bool) -> OpenVinoRuntime:
    """Open OpenVINO on a bundle."""
    return OpenVinoRuntime(bundle, cached=cached)


def _port(ports: Sequence[Any], tensor: TensorSpec, position: int) -> Any:  # noqa: ANN401
    """The port of a tensor. Raises ValueError if it cannot have the shape of the tensor in a batch."""
    named = [port for port in ports if tensor.name in port.get_names()]
    port = named[0] if named else ports[position]
    if not port.get_partial_shape().compatible(ov.PartialShape([-1, *tensor.shape])):
        raise ValueError(f"{tensor.name[:80]!r} has the shape {port.get_partial_shape()} instead of {tensor.shape}")
    return port


def _weight_bytes(model: Any) -> int:  # noqa: ANN401
    constants = [node for node in model.get_ops() if node.get_type_name() == "Constant"]
    return sum(math.prod(node.get_output_shape(0)) * node.get_output_element_type(0).size for node in constants)
