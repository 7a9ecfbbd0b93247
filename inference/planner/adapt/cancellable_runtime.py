"""An engine to measure with that ends when the run does, and not when all is measured."""

import threading
from collections.abc import Sequence

import numpy as np

from hybrid_batch.inference.model.cuts import TensorSpec
from hybrid_batch.inference.model.runtimes import Engine, Segment
from hybrid_batch.inference.runner.drain import TooLate


class Stoppable:
    """See Engine. Once `stop` is set, compiling and every call raise TooLate."""

    def __init__(self, engine: Engine, stop: threading.Event) -> None:
        self.name = engine.name
        self._engine, self._stop = engine, stop

    def compile(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Segment:
        """See Engine."""
        self._go_on()
        segment = self._engine.compile(inputs, outputs)

        def call(tensors: Sequence[np.ndarray]) -> list[np.ndarray]:
            self._go_on()
            return segment(tensors)

        return call

    def _go_on(self) -> None:
        if self._stop.is_set():
            raise TooLate
