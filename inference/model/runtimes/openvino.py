"""OpenVINO on the CPU, the default engine. TensorFlow is not imported: OpenVINO's own front end reads the graph.

Cuts are made by tensor name before conversion, because conversion renames tensors and changes the layout.
The batch stays dynamic: measured on 2 cores it costs 0 to 13 % against a fixed one, and results are equal to
the last bit whatever the batch (docs/decisions.md).
"""

import contextlib
import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino.frontend import FrontEndManager

from hybrid_batch.data.errors import NotABundle
from hybrid_batch.inference.model.atomic_directory import new_folder
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cache import cache_folder, prune
from hybrid_batch.inference.model.cuts import TensorSpec

_DESCRIPTION, _WEIGHTS = "segment.xml", "segment.bin"
# On a CPU with bf16 the default precision is bf16, which moves probabilities by up to 0.017.
_PRECISION = {"INFERENCE_PRECISION_HINT": "f32"}


class OpenVinoSegment:
    """A compiled model that runs one call after the other, whichever threads they come from: with a request for each
    thread, some processes stopped for ever in `get_tensor`, which waits, the interpreter's lock in hand, for another
    thread's call. The CPU has one stream for all of them anyway."""

    def __init__(self, compiled: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:  # noqa: ANN401
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


class OpenVinoEngine:
    """Compiles parts of one bundle, through the segment cache unless `cached` is false."""

    name = "openvino"

    def __init__(self, bundle: Bundle, *, cached: bool = True) -> None:
        self._bundle = bundle
        self._cached = cached
        self._core = ov.Core()

    def compile(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> OpenVinoSegment:
        """See Engine."""
        model = self._load(inputs, outputs) if self._cached else self._convert(inputs, outputs)
        return OpenVinoSegment(self._core.compile_model(model, "CPU", _PRECISION), inputs, outputs)

    def _load(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Any:  # noqa: ANN401
        """The converted part from the cache. It is read back even when just written, so that the first run
        and the next compile the same thing and agree to the last bit."""
        folder = cache_folder("segments")
        words = [ov.__version__, self._bundle.sha256, *(t.name for t in inputs), ">", *(t.name for t in outputs)]
        place = folder / hashlib.sha256("\n".join(words).encode()).hexdigest()[:32]
        with contextlib.suppress(RuntimeError):  # absent, or damaged
            return self._read(place)
        model = self._convert(inputs, outputs)
        with contextlib.suppress(OSError, RuntimeError):  # a cache that cannot be written only costs the conversion
            with new_folder(place) as temporary:
                ov.save_model(model, temporary / _DESCRIPTION, compress_to_fp16=False)
            prune(folder)
            return self._read(place)
        return model

    def _read(self, place: Path) -> Any:  # noqa: ANN401
        return self._core.read_model(place / _DESCRIPTION, place / _WEIGHTS)

    def _convert(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Any:  # noqa: ANN401
        front_end = FrontEndManager().load_by_framework("tf")
        try:
            graph = front_end.load(str(self._bundle.graph_path))
            graph.override_all_outputs([graph.get_place_by_tensor_name(tensor.name) for tensor in outputs])
            places = [graph.get_place_by_tensor_name(tensor.name) for tensor in inputs]
            graph.override_all_inputs(places)
            for place, tensor in zip(places, inputs, strict=True):
                graph.set_partial_shape(place, ov.PartialShape([-1, *tensor.shape]))
            return front_end.convert(graph)
        except RuntimeError as error:
            line = str(error).strip().splitlines()[-1]
            raise NotABundle(
                f"OpenVINO cannot compile {self._bundle.name} ({line}); use --engine tensorflow."
            ) from error


def _port(ports: Sequence[Any], tensor: TensorSpec, position: int) -> Any:  # noqa: ANN401
    named = [port for port in ports if tensor.name in port.get_names()]
    return named[0] if named else ports[position]
