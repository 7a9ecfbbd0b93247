"""Engines compile a part of a bundle's graph and run it; this is what every engine offers, and the table of them."""

import sys
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import Cut, TensorSpec

ENGINES = ("openvino", "tensorflow")

# OpenVINO's package reports each of its imports to Google Analytics, by a forked process that may hang and then keeps
# our port and pipes open. Where the reporting package is missing it falls silent, so here it is missing.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


class Segment(Protocol):
    """A compiled part of the graph; threads may call it at once."""

    def __call__(self, tensors: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Inputs in the boundary's order, each (batch, …); outputs likewise, owned by the caller."""
        ...


class Engine(Protocol):
    """Compiles any part of one bundle."""

    name: str

    def compile(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Segment:
        """The part of the graph from these tensors to those, for any batch."""
        ...


def open_engine(name: str, bundle: Bundle, *, cached: bool = True) -> Engine:
    """The engine of this name on a bundle; `cached` keeps what it compiles in the user cache. Raises WrongUsage for
    an unknown name, MissingExtra if it is not installed."""
    if name == "openvino":
        from hybrid_batch.inference.model.runtimes.openvino import OpenVinoEngine

        return OpenVinoEngine(bundle, cached=cached)
    if name == "tensorflow":
        from hybrid_batch.inference.model.runtimes.tensorflow import TensorFlowEngine

        return TensorFlowEngine(bundle)
    raise WrongUsage(f"No engine named {name!r}; choose one of {', '.join(ENGINES)}.")


def compile_head(engine: Engine, bundle: Bundle, cut: Cut) -> Segment:
    """Input to boundary."""
    return engine.compile([bundle.input], cut.boundary)


def compile_tail(engine: Engine, bundle: Bundle, cut: Cut) -> Segment:
    """Boundary to scores; of `c000` the whole model."""
    return engine.compile(cut.boundary, [bundle.output])
