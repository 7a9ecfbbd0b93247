"""What this machine does of one picture before anything is sent: decode, head, encode."""

import time
from dataclasses import dataclass

import numpy as np

from hybrid_batch.data.images.decode import decode
from hybrid_batch.inference.benchmark.way import Way
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.datatypes import NUMPY
from hybrid_batch.inference.model.runtimes import Engine, compile_head
from hybrid_batch.inference.protocol import codecs
from hybrid_batch.inference.protocol.wire import Body, Frame, WireTensor, encode_request
from hybrid_batch.inference.serving.executor import BUNDLE


@dataclass(frozen=True, slots=True)
class Prepared:
    """A frame of one picture, and the µs it took to make."""

    frame: Frame
    here_us: float

    def body(self, bundle: Bundle) -> Body:
        """As it is sent."""
        frame = self.frame
        return encode_request(Frame(frame.tensors, frame.id, {**frame.parameters, BUNDLE: bundle.sha256}))


class Head:
    """The head of one way, compiled."""

    def __init__(self, bundle: Bundle, engine: Engine, way: Way) -> None:
        self._bundle, self._way = bundle, way
        self._segment = None if way.cut is bundle.whole else compile_head(engine, bundle, way.cut)

    def prepare(self, file: bytes) -> Prepared:
        """The frame of a picture's file. Raises CannotDecode."""
        began = time.perf_counter_ns()
        frame = Frame(self._upload(file) if self._segment is None else self._divide(file))
        return Prepared(frame, (time.perf_counter_ns() - began) / 1000)

    def _upload(self, file: bytes) -> tuple[WireTensor, ...]:
        return codecs.encode_pictures(self._bundle.input, [file])

    def _divide(self, file: bytes) -> tuple[WireTensor, ...]:
        assert self._segment is not None  # noqa: S101 - the caller looked
        pixels = np.asarray(decode(file, self._bundle.preparation), NUMPY[self._bundle.input.datatype])
        return codecs.encode(self._way.codec, self._way.cut.boundary, self._segment([pixels[np.newaxis]]))
