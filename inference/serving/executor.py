"""Executes the tails of one bundle: decodes frames and computes scores."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from hybrid_batch.data.errors import BundleMismatch, InvalidFrame
from hybrid_batch.data.images.decoding.image_batch import ImageBatch
from hybrid_batch.data.images.decoding.pixel_budget import RUNNER_BUDGET, PixelBudget
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import INPUT_CUT, Cut
from hybrid_batch.inference.model.datatypes import NUMPY_DTYPES
from hybrid_batch.inference.model.runtimes import Runtime, compile_tail
from hybrid_batch.inference.protocol.codecs import wire_tensors
from hybrid_batch.inference.protocol.codecs.wire_tensors import FrameCost
from hybrid_batch.inference.protocol.wire import BUNDLE, Frame
from hybrid_batch.inference.serving.segment_cache import SegmentCache

# Measured with both runtimes: copies of the weights in a compiled tail, and of the largest boundary during a call.
_COPIES, _WORKING_COPIES, _ELEMENT_BYTES = 4, 3, 4


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
    """Executes the tails of one bundle with one runtime. Thread-safe. A tail is compiled when it is first used, and
    again after it was evicted, because all compiled tails together hold at most `max_compiled_bytes`, if given. A call
    of the runtime takes at most half of that. `pixels` limits image files."""

    def __init__(
        self,
        bundle: Bundle,
        runtime: Runtime,
        max_compiled_bytes: int | None = None,
        pixels: PixelBudget = RUNNER_BUDGET,
    ) -> None:
        self.bundle = bundle
        self._pixels = pixels
        self.segments = SegmentCache(
            partial(compile_tail, runtime, bundle), _COPIES * bundle.graph_path.stat().st_size, max_compiled_bytes
        )
        self._working: dict[str, int] = {}
        self._max_call_bytes = None if max_compiled_bytes is None else max_compiled_bytes // 2

    def compile_cut(self, cut: Cut) -> None:
        """Compile a tail, unless it is compiled. Raises Overloaded if the limit of bytes leaves no room for it."""
        self.segments.get(cut, computes=False).release()

    def warm_up(self, cut: Cut) -> None:
        """Compute one image of zeros, so that no request waits for what a runtime does in its first call."""
        zeros = [np.zeros((1, *tensor.shape), NUMPY_DTYPES[tensor.datatype]) for tensor in cut.boundary]
        self.run(cut, zeros, counts=False)

    def check_bundle(self, frame: Frame) -> None:
        """Raises BundleMismatch if the frame names another bundle."""
        sha256 = frame.parameters.get(BUNDLE, self.bundle.sha256)
        if sha256 != self.bundle.sha256:
            raise bundle_mismatch(str(sha256), self.bundle)

    def batch_size(self, cut: Cut, frame: Frame) -> int:
        """Number of images in a frame. Raises InvalidFrame."""
        if wire_tensors.holds_images(frame) and cut.id != INPUT_CUT:
            raise InvalidFrame(f"Image files are for the whole model, {INPUT_CUT}; cut {cut.id} takes tensors.")
        return wire_tensors.frame_batch_size(cut.boundary, frame)

    def decoding_cost(self, cut: Cut, frame: Frame) -> FrameCost:
        """What decoding a frame takes; of image files only the pixels that they become. Raises InvalidFrame."""
        batch = self.batch_size(cut, frame)
        if wire_tensors.holds_images(frame):
            return FrameCost(wire_tensors.decoded_bytes(cut.boundary, batch), 0)
        return wire_tensors.decoding_cost(cut.boundary, frame)

    def decode(self, cut: Cut, frame: Frame) -> DecodedBatch:
        """Decode the frame's tensors, or decode and preprocess its image files. Raises InvalidFrame."""
        images = self.open_images(cut, frame)
        if images is not None:
            return self.finish_images(images)
        tensors = wire_tensors.decode(cut.boundary, frame)
        return DecodedBatch(tensors, (None,) * len(tensors[0]))

    def open_images(self, cut: Cut, frame: Frame, check: Callable[[], None] = lambda: None) -> ImageBatch | None:
        """The image files of a frame, not decoded yet; None for a frame of tensors. See ImageBatch for `check`. Raises
        InvalidFrame."""
        self.batch_size(cut, frame)
        if not wire_tensors.holds_images(frame):
            return None
        files = wire_tensors.image_files(cut.boundary[0], frame)
        dtype = NUMPY_DTYPES[self.bundle.input.datatype]
        return ImageBatch(files, self.bundle.preprocessing, dtype, self._pixels, check)

    def finish_images(self, images: ImageBatch) -> DecodedBatch:
        """Decode the images that are left."""
        pixels, errors = images.finish()
        return DecodedBatch([pixels], errors)

    def run(self, cut: Cut, tensors: Sequence[np.ndarray], *, counts: bool = True) -> np.ndarray:
        """Compute scores, float32 (batch, *output shape), from boundary tensors, each (batch, *shape). `counts` is
        whether this is a use of the compiled tail, which keeps it from being evicted."""
        if len(tensors[0]) == 0:
            return np.zeros((0, *self.bundle.output.shape), np.float32)
        parts: list[np.ndarray] = []
        per_image = self._working_bytes(cut)
        together = len(tensors[0])
        if self._max_call_bytes is not None:
            together = max(1, min(together, self._max_call_bytes // per_image))
        with self.segments.get(cut, computes=counts) as lease:
            lease.reserve_working(together * per_image)
            for start in range(0, len(tensors[0]), together):
                (scores,) = lease.segment([tensor[start : start + together] for tensor in tensors])
                parts.append(scores.astype(np.float32, copy=False))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _working_bytes(self, cut: Cut) -> int:
        """Estimate the working memory of the runtime for one image, from the largest boundary in the tail."""
        if (found := self._working.get(cut.id)) is None:
            largest = max(later.elements for later in self.bundle.cuts if later.tail_macs <= cut.tail_macs)
            found = self._working[cut.id] = _WORKING_COPIES * _ELEMENT_BYTES * largest
        return found


def bundle_mismatch(sha256: str, bundle: Bundle) -> BundleMismatch:
    """The error of a request for a bundle with hash `sha256` at a tail that serves `bundle`."""
    return BundleMismatch(
        f"The request is for bundle {sha256[:12]}, but this tail serves {bundle.name} ({bundle.sha256[:12]}); "
        "serve the bundle that the client runs."
    )
