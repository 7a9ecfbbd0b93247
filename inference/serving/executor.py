"""Executes the tails of one bundle: decodes frames and computes scores."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hybrid_batch.data.errors import BundleMismatch, InvalidFrame
from hybrid_batch.data.images.decode import UndecodableImage, decode
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import INPUT_CUT, Cut
from hybrid_batch.inference.model.datatypes import NUMPY_DTYPES
from hybrid_batch.inference.model.runtimes import Runtime, Segment, compile_tail
from hybrid_batch.inference.protocol.codecs import wire_tensors
from hybrid_batch.inference.protocol.wire import BUNDLE, Frame


@dataclass(frozen=True, slots=True)
class DecodedBatch:
    """A decoded frame. `tensors` are the boundary tensors, each (size, *shape), of the images that could be decoded;
    `errors` has one entry for each image of the frame: None, or a sentence on why it could not be decoded."""

    tensors: list[np.ndarray]
    errors: tuple[str | None, ...]

    @property
    def size(self) -> int:
        """Number of decoded images."""
        return len(self.tensors[0])

    def scatter(self, scores: np.ndarray) -> np.ndarray:
        """Scores of all images of the frame, (len(errors), *shape), from those of the decoded images, (size, *shape).
        Images that could not be decoded get zeros."""
        if not any(self.errors):
            return scores
        rows = np.zeros((len(self.errors), *scores.shape[1:]), scores.dtype)
        rows[[error is None for error in self.errors]] = scores
        return rows


class TailExecutor:
    """Executes the tails of one bundle with one runtime. Thread-safe. A tail is compiled when it is first used."""

    def __init__(self, bundle: Bundle, runtime: Runtime) -> None:
        self.bundle = bundle
        self._runtime = runtime
        self._segments: dict[str, Segment] = {}
        self._compiling = threading.Lock()

    def segment(self, cut: Cut) -> Segment:
        """The compiled tail of a cut."""
        found = self._segments.get(cut.id)
        if found is None:
            with self._compiling:
                found = self._segments.get(cut.id) or compile_tail(self._runtime, self.bundle, cut)
                self._segments[cut.id] = found
        return found

    def check_bundle(self, frame: Frame) -> None:
        """Raises BundleMismatch if the frame names another bundle."""
        sha256 = frame.parameters.get(BUNDLE, self.bundle.sha256)
        if sha256 != self.bundle.sha256:
            raise bundle_mismatch(str(sha256), self.bundle)

    def decoded_bytes(self, cut: Cut, frame: Frame) -> int:
        """Size in memory of the frame's tensors after decoding. Raises InvalidFrame."""
        if wire_tensors.holds_images(frame) and cut.id != INPUT_CUT:
            raise InvalidFrame(f"Image files are for the whole model, {INPUT_CUT}; cut {cut.id} takes tensors.")
        return wire_tensors.decoded_bytes(cut.boundary, wire_tensors.frame_batch_size(cut.boundary, frame))

    def decode(self, cut: Cut, frame: Frame) -> DecodedBatch:
        """Decode the frame's tensors, or decode and preprocess its image files. Raises InvalidFrame."""
        self.decoded_bytes(cut, frame)
        if wire_tensors.holds_images(frame):
            return self._decode_images(wire_tensors.image_files(cut.boundary[0], frame))
        tensors = wire_tensors.decode(cut.boundary, frame)
        return DecodedBatch(tensors, (None,) * len(tensors[0]))

    def run(self, cut: Cut, tensors: Sequence[np.ndarray]) -> np.ndarray:
        """Compute scores, float32 (batch, *output shape), from boundary tensors, each (batch, *shape)."""
        if len(tensors[0]) == 0:
            return np.zeros((0, *self.bundle.output.shape), np.float32)
        (scores,) = self.segment(cut)(tensors)
        return scores.astype(np.float32, copy=False)

    def _decode_images(self, files: Sequence[memoryview]) -> DecodedBatch:
        images: list[np.ndarray] = []
        errors: list[str | None] = []
        for file in files:
            try:
                images.append(decode(bytes(file), self.bundle.preprocessing))
                errors.append(None)
            except UndecodableImage as error:
                errors.append(str(error))
        tensor = np.empty((len(images), *self.bundle.input.shape), NUMPY_DTYPES[self.bundle.input.datatype])
        for row, image in zip(tensor, images, strict=True):
            row[...] = image
        return DecodedBatch([tensor], tuple(errors))


def bundle_mismatch(sha256: str, bundle: Bundle) -> BundleMismatch:
    """The error of a request for a bundle with hash `sha256` at a tail that serves `bundle`."""
    return BundleMismatch(
        f"The request is for bundle {sha256[:12]}, but this tail serves {bundle.name} ({bundle.sha256[:12]}); "
        "serve the bundle that the client runs."
    )
