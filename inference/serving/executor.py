"""The work of a tail, wherever it runs: frame in, decode, engine, scores out."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hybrid_batch.data.errors import BadFrame, OtherBundle
from hybrid_batch.data.images.decode import CannotDecode, decode
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import WHOLE, Cut
from hybrid_batch.inference.model.datatypes import NUMPY
from hybrid_batch.inference.model.runtimes import Engine, Segment, compile_tail
from hybrid_batch.inference.protocol import codecs
from hybrid_batch.inference.protocol.wire import Frame

BUNDLE = "bundle"


@dataclass(frozen=True, slots=True)
class Arrived:
    """A decoded frame: the tensors of the images that could be decoded, and for each image of the frame None
    or the sentence that says why it could not."""

    tensors: list[np.ndarray]
    errors: tuple[str | None, ...]

    @property
    def batch(self) -> int:
        """Images to compute."""
        return len(self.tensors[0])

    def spread(self, scores: np.ndarray) -> np.ndarray:
        """Scores of the computed images, with zeros in the rows of the others."""
        if not any(self.errors):
            return scores
        rows = np.zeros((len(self.errors), *scores.shape[1:]), scores.dtype)
        rows[[error is None for error in self.errors]] = scores
        return rows


class TailWorker:
    """Computes the tails of one bundle; threads may call it at once. A tail is compiled when first asked for."""

    def __init__(self, bundle: Bundle, engine: Engine) -> None:
        self.bundle = bundle
        self._engine = engine
        self._segments: dict[str, Segment] = {}
        self._compiling = threading.Lock()

    def segment(self, cut: Cut) -> Segment:
        """The compiled tail of a cut."""
        found = self._segments.get(cut.id)
        if found is None:
            with self._compiling:
                found = self._segments.get(cut.id) or compile_tail(self._engine, self.bundle, cut)
                self._segments[cut.id] = found
        return found

    def check_bundle(self, frame: Frame) -> None:
        """Raises OtherBundle if the frame was made for another bundle."""
        meant = frame.parameters.get(BUNDLE, self.bundle.sha256)
        if meant != self.bundle.sha256:
            raise OtherBundle(
                f"The frame is for bundle {str(meant)[:12]}, but {self.bundle.name} here is "
                f"{self.bundle.sha256[:12]}; serve the bundle that the client runs."
            )

    def decoded_bytes(self, cut: Cut, frame: Frame) -> int:
        """What the frame's tensors or pictures take in memory once decoded. Raises BadFrame."""
        if codecs.is_pictures(frame) and cut.id != WHOLE:
            raise BadFrame(f"Pictures are for the whole model, {WHOLE}; cut {cut.id} takes tensors.")
        return codecs.decoded_bytes(cut.boundary, codecs.batch_of(cut.boundary, frame))

    def decode(self, cut: Cut, frame: Frame) -> Arrived:
        """The frame's tensors, or its pictures prepared as the model wants them. Raises BadFrame."""
        self.decoded_bytes(cut, frame)
        if codecs.is_pictures(frame):
            return self._decode_pictures(codecs.decode_pictures(cut.boundary[0], frame))
        tensors = codecs.decode(cut.boundary, frame)
        return Arrived(tensors, (None,) * len(tensors[0]))

    def run(self, cut: Cut, tensors: Sequence[np.ndarray]) -> np.ndarray:
        """Scores, float32 (batch, *output shape), of boundary tensors."""
        if len(tensors[0]) == 0:
            return np.zeros((0, *self.bundle.output.shape), np.float32)
        (scores,) = self.segment(cut)(tensors)
        return scores.astype(np.float32, copy=False)

    def _decode_pictures(self, pictures: Sequence[memoryview]) -> Arrived:
        images: list[np.ndarray] = []
        errors: list[str | None] = []
        for picture in pictures:
            try:
                images.append(decode(bytes(picture), self.bundle.preparation))
                errors.append(None)
            except CannotDecode as error:
                errors.append(str(error))
        tensor = np.empty((len(images), *self.bundle.input.shape), NUMPY[self.bundle.input.datatype])
        for row, image in zip(tensor, images, strict=True):
            row[...] = image
        return Arrived([tensor], tuple(errors))
