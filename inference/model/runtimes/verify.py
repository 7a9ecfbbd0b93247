"""Verify cuts: compare the scores of head and tail with those of the whole model at every cut."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hybrid_batch.data.images.decode import scale_pixels
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import Cut
from hybrid_batch.inference.model.runtimes import Runtime, compile_head, compile_tail
from hybrid_batch.inference.model.scores import to_scores

TOLERANCE = 1e-5
VERIFIED_IMAGES = 8


@dataclass(frozen=True, slots=True)
class CutCheck:
    """The differences at one cut: `max_abs_error` of any score, and the share of images with the `same_top1` class."""

    cut: Cut
    max_abs_error: float
    same_top1: float

    @property
    def passed(self) -> bool:
        """Whether the cut changes nothing. False for scores that are NaN."""
        return self.max_abs_error <= TOLERANCE and self.same_top1 == 1


def verify_cuts(
    bundle: Bundle, runtime: Runtime, cuts: Sequence[Cut], count: int = VERIFIED_IMAGES
) -> Iterator[CutCheck]:
    """Compare the scores at each cut on `count` synthetic images."""
    images = synthetic_images(bundle, count)
    expected = to_scores(bundle, compile_tail(runtime, bundle, bundle.input_cut)([images])[0])
    for cut in cuts:
        boundary = [images] if cut is bundle.input_cut else compile_head(runtime, bundle, cut)([images])
        scores = to_scores(bundle, compile_tail(runtime, bundle, cut)(boundary)[0])
        same = np.mean(scores.argmax(axis=1) == expected.argmax(axis=1))
        yield CutCheck(cut, float(np.abs(scores - expected).max()), float(same))


def synthetic_images(bundle: Bundle, count: int, seed: int = 0) -> np.ndarray:
    """Return seeded input images, float32 (count, height, width, channels), preprocessed as the bundle requires.

    They are random blocks of 8x8 pixels, because in deep layers all images of white noise give the same values."""
    height, width, channels = bundle.input.shape
    blocks = np.random.default_rng(seed).integers(0, 256, (count, -(-height // 8), -(-width // 8), channels))
    pixels = np.kron(blocks, np.ones((1, 8, 8, 1), dtype=blocks.dtype))[:, :height, :width]
    return scale_pixels(np.ascontiguousarray(pixels, dtype=np.float32), bundle.preprocessing)
