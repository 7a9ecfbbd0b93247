"""Runtimes compile a part of a bundle's graph and run it: their interface and their table.

A new runtime is one module with a function `open_runtime(bundle, *, cached)`, and one line in RUNTIMES. Reading the
table imports neither numpy nor a runtime, so that commands can list the names in their help.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from hybrid_batch.data.errors import WrongUsage

if TYPE_CHECKING:
    import numpy as np

    from hybrid_batch.inference.model.bundle import Bundle
    from hybrid_batch.inference.model.cuts import Cut, TensorSpec

# The module of each runtime, imported on use. The first is the default.
RUNTIMES: dict[str, str] = {
    "openvino": f"{__name__}.openvino",
    "tensorflow": f"{__name__}.tensorflow",
}
DEFAULT_RUNTIME = next(iter(RUNTIMES))

# OpenVINO reports each of its imports to Google Analytics from a forked process, which may hang and then keeps our
# ports and pipes open. It reports nothing if this package is missing.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


class Segment(Protocol):
    """A compiled part of the graph. Thread-safe."""

    def __call__(self, tensors: "Sequence[np.ndarray]") -> "list[np.ndarray]":
        """Compute the outputs from the inputs, each (batch, …) and in the order of `compile`. The caller owns them."""
        ...


@runtime_checkable
class MeasuredSegment(Protocol):
    """A Segment that states its size."""

    @property
    def held_bytes(self) -> int:
        """Memory that it holds between calls, estimated from its weights, without working memory."""
        ...


@runtime_checkable
class ReleasableSegment(Protocol):
    """A Segment that keeps the working memory of its largest call."""

    def release_memory(self) -> None:
        """Free the working memory; the next call takes it again. Thread-safe."""
        ...


class Runtime(Protocol):
    """Compiles any part of one bundle's graph."""

    name: str

    def compile(self, inputs: "Sequence[TensorSpec]", outputs: "Sequence[TensorSpec]") -> Segment:
        """Compile the part of the graph between these tensors, for any batch size. Raises NotABundle if it cannot."""
        ...


def open_runtime(name: str, bundle: "Bundle", *, cached: bool = True) -> Runtime:
    """Open the runtime of this name on a bundle. `cached` allows it to keep compiled segments in the user's cache.

    Raises WrongUsage for an unknown name, MissingExtra if the runtime is not installed."""
    if name not in RUNTIMES:
        raise WrongUsage(f"No runtime named {name!r}; choose one of {', '.join(RUNTIMES)}.")
    runtime: Runtime = import_module(RUNTIMES[name]).open_runtime(bundle, cached=cached)
    return runtime


def compile_head(runtime: Runtime, bundle: "Bundle", cut: "Cut") -> Segment:
    """Compile the part from the input to the boundary."""
    return runtime.compile([bundle.input], cut.boundary)


def compile_tail(runtime: Runtime, bundle: "Bundle", cut: "Cut") -> Segment:
    """Compile the part from the boundary to the output; for the input cut this is the whole model."""
    return runtime.compile(cut.boundary, [bundle.output])
