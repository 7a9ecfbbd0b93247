"""What this machine does of one picture before anything is sent: decode, head, encode."""

import time
from dataclasses import dataclass

import numpy as np

from data.decode import decode
from inference import codecs
from inference.bundle import Bundle
from inference.datatypes import NUMPY
from inference.engines import Engine, compile_head
from inference.experiment.way import Way
from inference.tails.worker import BUNDLE
from inference.wire import Body, Frame, WireTensor, encode_request


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
